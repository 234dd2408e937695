"""One column of a table: what may be shown, sorted and filtered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column. `key` is Ray's field name, in JSON, CSV, URLs and the command line alike."""

    key: str
    label: str
    cell: str = "text"  # the macro that draws it
    sort: str | None = None  # direction of the first click: asc, desc; None: cannot be sorted
    filter: str | None = None  # text, choice, id, number, bytes, duration, time, bool; None: cannot be filtered
    choices: tuple[str, ...] = ()  # of a choice
    help: str = ""
    hidden: bool = False  # not shown unless asked for
    numeric: bool = False
    carry: tuple[str, ...] = ()  # further columns that the cell draws from
    alias: tuple[str, ...] = ()  # further names in the query box
    searched: bool = False  # a bare word in the query box looks here
    is_part: bool = False  # of another column: in JSON and CSV only when asked for

    @property
    def is_drawn(self) -> bool:
        """A column without a cell is only in JSON and CSV."""
        return self.cell != ""
