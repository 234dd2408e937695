"""When a line says it was written."""

from __future__ import annotations

from calendar import timegm

import pytest

from clusterstate.log_times import Fields, time_of


def two_hours_east(fields: Fields) -> float:
    return timegm((*fields, 0, 0, 0)) - 7200


def at(line: bytes) -> int | None:
    return time_of(line, 2026, two_hours_east)


NOON_UTC = 1_795_348_800_000  # 2026-11-22T12:00:00Z


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"[2026-11-22 14:00:00,123 I 77 77] (raylet) main.cc:1: x", NOON_UTC + 123),
        (b"2026-11-22 14:00:00,123\tINFO worker.py:1 -- x", NOON_UTC + 123),
        (b"2026-11-22 14:00:00 x", NOON_UTC),
        (b"2026-11-22T12:00:00.5Z x", NOON_UTC + 500),
        (b"2026-11-22T14:00:00+02:00 x", NOON_UTC),
        (b"2026-11-22T07:00:00.250-0500 x", NOON_UTC + 250),
        (b"(pid=7) 2026-11-22 14:00:00,000 x", NOON_UTC),
        (b"\x1b[36m2026-11-22 14:00:00,000\x1b[0m x", NOON_UTC),
        (b"E1122 14:00:00.000001 77 x.cc:1] y", NOON_UTC),
        (b'{"asctime":"2026-11-22 14:00:00,123","levelname":"INFO"}', NOON_UTC + 123),
        (b'{"levelname": "INFO", "timestamp": "2026-11-22T12:00:00Z"}', NOON_UTC),
        (b'{"message": "x", "timestamp_ns": 1795348800123456789}', NOON_UTC + 123),
    ],
)
def test_the_forms_that_are_written(line: bytes, wanted: int) -> None:
    assert at(line) == wanted


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"step 17 of 2026-11-22 14:00:00",
        b"2026-13-22 14:00:00 no such month",
        b"2026-02-30 14:00:00 no such day",
        b"E1399 14:00:00.000001 x",
        b"0000-01-01 00:00:00 before all years",
        b"\xff\xfe\x00",
        b"{" * 5000,
        b"[" + b"1" * 5000,
    ],
)
def test_everything_else_says_none(line: bytes) -> None:
    assert at(line) is None
