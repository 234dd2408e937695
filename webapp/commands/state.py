"""What the commands for accounts and keeping share: the state folder, its journal, who is asking."""

from __future__ import annotations

import contextlib
import datetime
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from clusterstate import paths
from clusterstate.journal import BadAccount, Journal, JournalUnavailable
from clusterstate.settings import BadSetting, Settings, read_settings

EXIT_CONFIGURATION = 78
Function = TypeVar("Function", bound=Callable[..., Any])


class WrongConfiguration(click.ClickException):
    exit_code = EXIT_CONFIGURATION


def state_dir_option(function: Function) -> Function:
    """`--state-dir`, as all commands have it."""
    option = click.option("--state-dir", type=click.Path(path_type=Path), default=None, help="Folder that holds the journal.")
    return option(function)


def settings_of(state_dir: Path | None) -> Settings:
    try:
        return read_settings(state_dir=state_dir)
    except BadSetting as error:
        raise WrongConfiguration(str(error)) from error


@contextlib.contextmanager
def open_journal(state_dir: Path | None, create: bool = False) -> Iterator[Journal]:
    """The journal of this host; its refusals become one sentence and exit code 1."""
    folder = settings_of(state_dir).state_dir
    path = paths.journal_file(folder)
    if not create and not path.exists():
        raise click.ClickException(f"There is no journal in {folder}. Give the folder of your Raydeck with --state-dir.")
    try:
        journal = Journal(paths.journal_file(paths.make_state_dir(folder)))
    except BadSetting as error:
        raise WrongConfiguration(str(error)) from error
    except JournalUnavailable as error:
        raise click.ClickException(str(error)) from error
    try:
        yield journal
    except (BadAccount, JournalUnavailable) as error:
        raise click.ClickException(str(error)) from error
    finally:
        journal.close()


def who_asks() -> str:
    """The system user at the terminal. The colon keeps it apart from the names of Raydeck's users."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's user without a name
        return f"cli:{os.getuid()}"


def when(moment: float | None) -> str:
    """A moment in UTC, for the terminal."""
    if moment is None:
        return "-"
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def printable(text: str) -> str:
    """Somebody's words on a terminal: nothing in them can move the cursor or start a line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def aligned(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in columns two spaces apart."""
    table = [heads, *[tuple(printable(cell) for cell in row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
