"""A GCS table whose rows are kept as ready wire records, so that a reply of 100,000 rows is one join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from tests.simulated_ray.wire import field, payload_of


class Table:
    """Rows by id, in the order they came. `state_of` groups rows, so that a filter by state reads only what it returns."""

    def __init__(self, message: Any, number: int, state_of: Callable[[Any], int]) -> None:
        self.message = message
        self._number = number
        self._state_of = state_of
        self._records: dict[bytes, bytes] = {}
        self._raw: dict[bytes, bytes] = {}
        self._states: dict[bytes, int] = {}
        self._by_state: dict[int, dict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, row_id: bytes) -> bool:
        return row_id in self._records

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def put(self, row_id: bytes, row: Any, raw: bytes = b"") -> None:
        """Insert or replace. `raw` is appended to the row's bytes and survives later replacements."""
        raw = self._raw.get(row_id, b"") + raw
        if raw:
            self._raw[row_id] = raw
        self.put_serialized(row_id, row.SerializeToString() + raw, self._state_of(row))

    def put_serialized(self, row_id: bytes, payload: bytes, state: int) -> None:
        """Insert or replace a row whose bytes are made already."""
        self._records[row_id] = field(self._number, payload)
        before = self._states.get(row_id)
        if before != state:
            if before is not None:
                del self._by_state[before][row_id]
            self._states[row_id] = state
            self._by_state.setdefault(state, {})[row_id] = None

    def get(self, row_id: bytes) -> Any:
        """A copy of the row, without raw bytes. KeyError if there is none."""
        payload = payload_of(self._records[row_id])
        raw = self._raw.get(row_id, b"")
        row = self.message()
        row.ParseFromString(payload[: len(payload) - len(raw)])
        return row

    def payload(self, row_id: bytes) -> bytes | None:
        """The row's bytes as they go over the wire, or None."""
        record = self._records.get(row_id)
        return None if record is None else payload_of(record)

    def remove(self, row_id: bytes) -> None:
        """Drop a row, if it is there."""
        if self._records.pop(row_id, None) is not None:
            self._raw.pop(row_id, None)
            del self._by_state[self._states.pop(row_id)][row_id]

    def clear(self) -> None:
        for rows in (self._records, self._raw, self._states, self._by_state):
            rows.clear()

    def state(self, row_id: bytes) -> int:
        return self._states[row_id]

    def in_state(self, state: int) -> list[bytes]:
        """Ids of the rows in that state, those that came to it first first."""
        return list(self._by_state.get(state, ()))

    def count(self, state: int) -> int:
        return len(self._by_state.get(state, ()))

    def oldest_in_state(self, state: int) -> bytes | None:
        return next(iter(self._by_state.get(state, ())), None)

    def join(self, ids: Iterable[bytes] | None = None, limit: int | None = None) -> tuple[bytes, int]:
        """The records of those rows (None: of all) joined, at most `limit`, and how many they are."""
        records: Iterable[bytes] = self._records.values() if ids is None else (self._records[i] for i in ids)
        chosen = list(islice(records, limit))
        return b"".join(chosen), len(chosen)
