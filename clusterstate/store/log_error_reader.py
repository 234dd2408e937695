"""The errors of a session as they are asked for (see log_error_groups)."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusterstate.log_error_answers import Counter, ErrorGroup, ErrorList, ErrorPlace, ErrorsKept
from clusterstate.log_names import named
from clusterstate.store.log_error_groups import FILE_NAME, HOST, OWNER

COUNTERS_OF_A_ROW = 4
COUNTERS_OF_ONE = 100
MOST_LISTED = 200
EARLIER_SESSIONS = 10
MOST_SAMPLE = 64 << 10
ORDERS = {"last": "last_ms", "count": "count", "first": "first_ms"}


@dataclass(frozen=True)
class Asked:
    """Which groups."""

    owners: tuple[str, ...] = ()  # those in files of any of these; none: of all
    node_id: str = ""
    text: str = ""  # in the title or the exception's class, in any case
    kind: str = ""
    sort: str = "-last"
    offset: int = 0
    limit: int = 100


class ErrorGroupsReader:
    """The groups of one session, for reading. Use as a context. Raises sqlite3.Error where there are none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = _read_only(folder / FILE_NAME)
        self._database.row_factory = sqlite3.Row
        self._database.execute("BEGIN")

    def __enter__(self) -> ErrorGroupsReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def kept(self) -> ErrorsKept:
        """What is known of the grouping."""
        facts = {row["name"]: row["value"] for row in self._database.execute("SELECT name, value FROM facts")}
        return ErrorsKept(looked_at_ms=facts.get("looked_at_ms"), gone=facts.get("gone", 0), passed_over=facts.get("passed_over", 0))

    def page(self, asked: Asked) -> ErrorList:
        """A page of them."""
        found, values = _matching(asked)
        by_kind = self._database.execute(
            f"SELECT kind, count(*) AS number, sum(count) AS count FROM ({found}) GROUP BY kind",  # noqa: S608 - our own words
            values,
        )
        kinds = {row["kind"]: (row["number"], row["count"]) for row in by_kind}
        of_kind = [both for kind, both in kinds.items() if asked.kind in ("", kind)]
        order = f"{ORDERS[asked.sort.removeprefix('-')]} {'DESC' if asked.sort.startswith('-') else 'ASC'}, fingerprint"
        page = self._database.execute(
            f"SELECT * FROM ({found}) WHERE :kind IN ('', kind) ORDER BY {order} LIMIT :limit OFFSET :offset",  # noqa: S608 - our own words
            {**values, "kind": asked.kind, "limit": max(0, min(asked.limit, MOST_LISTED)), "offset": max(0, asked.offset)},
        ).fetchall()
        groups = [self._group(row, frozenset(asked.owners), COUNTERS_OF_A_ROW) for row in page]
        return ErrorList(
            groups=tuple(self._with_before(groups)),
            matching=sum(number for number, _ in of_kind),
            occurrences=sum(count for _, count in of_kind),
            kinds={kind: number for kind, (number, _) in kinds.items()},
            kept=self.kept(),
        )

    def detail(self, fingerprint: str) -> tuple[ErrorGroup, str] | None:
        """A group with a sample of it; None if there is none (any more)."""
        row = self._database.execute("SELECT * FROM groups WHERE fingerprint = ?", (fingerprint,)).fetchone()
        if row is None:
            return None
        sample = zlib.decompressobj().decompress(row["sample"], MOST_SAMPLE).decode("utf-8", "replace")
        [group] = self._with_before([replace(self._group(row, frozenset(), COUNTERS_OF_ONE), is_new=True)])
        return replace(group, is_new=False), sample

    def places(self, fingerprint: str) -> list[tuple[ErrorPlace, str]]:
        """Where it stands, the newest first, each with the name of its file as it was last."""
        rows = self._database.execute(
            "SELECT places.*, files.name AS now FROM places LEFT JOIN files USING (host, inode)"
            " WHERE fingerprint = ? ORDER BY at_ms DESC, places.rowid DESC",
            (fingerprint,),
        )
        nodes = self._nodes()
        return [
            (
                ErrorPlace(nodes.get(row["host"]), row["host"], "", "", row["offset"], row["at_ms"], row["owner"]),
                _name_now(os.fsdecode(row["name"]), os.fsdecode(row["now"] or row["name"])),
            )
            for row in rows
        ]

    def _group(self, row: sqlite3.Row, asked: frozenset[str], most: int) -> ErrorGroup:
        owners, owner_count = self._counters(row["fingerprint"], OWNER, most)
        hosts, host_count = self._counters(row["fingerprint"], HOST, most)
        nodes = self._nodes()
        return ErrorGroup(
            **{name: row[name] for name in ("fingerprint", "kind", "exception", "title", "count", "first_ms", "last_ms")},
            owners=owners,
            owner_count=owner_count,
            hosts=tuple(replace(one, node_id=nodes.get(one.key)) for one in hosts),
            host_count=host_count,
            is_new=bool(row["first_owner"]) and row["first_owner"] in asked,
        )

    def _counters(self, fingerprint: str, of: str, most: int) -> tuple[tuple[Counter, ...], int]:
        mine = "FROM counters WHERE fingerprint = ? AND of = ?"
        rows = self._database.execute(
            f"SELECT key, count, first_ms, last_ms {mine} ORDER BY last_ms DESC, key LIMIT ?",
            (fingerprint, of, most),
        )
        found = tuple(Counter(row["key"], row["count"], row["first_ms"], row["last_ms"]) for row in rows)
        number = self._database.execute(f"SELECT count(*) {mine}", (fingerprint, of)).fetchone()[0]
        return found, number

    def _nodes(self) -> dict[str, str]:
        """The newest node of each host."""
        return {row["host"]: row["node_id"] for row in self._database.execute("SELECT node_id, host FROM nodes ORDER BY seen_ms, node_id")}

    def _with_before(self, groups: list[ErrorGroup]) -> list[ErrorGroup]:
        """Those that are new, with when an earlier session had them last."""
        wanted = {group.fingerprint: group.first_ms for group in groups if group.is_new}
        if not wanted:
            return groups
        before: dict[str, int] = {}
        for path in _others(self._folder):
            for fingerprint, first_ms, last_ms in _seen_in(path, list(wanted)):
                if first_ms < wanted[fingerprint]:
                    before[fingerprint] = max(last_ms, before.get(fingerprint, 0))
        return [
            replace(group, is_new=group.is_new and group.fingerprint not in before, seen_before_ms=before.get(group.fingerprint))
            for group in groups
        ]


def _matching(asked: Asked) -> tuple[str, dict[str, Any]]:
    """The groups that match but for their kind; of the owners asked for alone, with their counts."""
    columns = "fingerprint, kind, exception, title, first_owner"
    conditions = ["(:text = '' OR instr(lower(exception || ' ' || title), :text))"]
    if asked.node_id:
        conditions.append(
            "fingerprint IN (SELECT fingerprint FROM counters WHERE of = 'host' AND key = (SELECT host FROM nodes WHERE node_id = :node))"
        )
    where = " AND ".join(conditions)
    values = {"text": asked.text.lower(), "node": asked.node_id, "owners": json.dumps(asked.owners)}
    if not asked.owners:
        return f"SELECT {columns}, count, first_ms, last_ms FROM groups WHERE {where}", values  # noqa: S608 - our own words
    of_owners = (
        "SELECT fingerprint, sum(count) AS count, min(first_ms) AS first_ms, max(last_ms) AS last_ms FROM counters"
        " WHERE of = 'owner' AND key IN (SELECT value FROM json_each(:owners)) GROUP BY fingerprint"
    )
    mine = f"SELECT {columns}, mine.count, mine.first_ms, mine.last_ms"
    return f"{mine} FROM groups JOIN ({of_owners}) AS mine USING (fingerprint) WHERE {where}", values


def _name_now(then: str, now: str) -> str:
    """What a file is called since it was rotated; its old name where another file has its inode."""
    return now if named(now).base == named(then).base else then


def _others(folder: Path) -> list[Path]:
    """The groups of the cluster's other sessions, the newest first."""
    found = [path for path in folder.parent.glob(f"*/{FILE_NAME}") if path.parent != folder]
    return sorted(found, key=lambda path: path.parent.name, reverse=True)[:EARLIER_SESSIONS]


def _seen_in(path: Path, fingerprints: list[str]) -> list[tuple[str, int, int]]:
    asked = "SELECT fingerprint, first_ms, last_ms FROM groups WHERE fingerprint IN (SELECT value FROM json_each(?))"
    try:
        with closing(_read_only(path)) as database:
            return database.execute(asked, (json.dumps(fingerprints),)).fetchall()
    except sqlite3.Error:
        return []  # it goes with its session


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0, check_same_thread=False)
