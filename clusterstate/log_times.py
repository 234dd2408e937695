"""When a line of a log says it was written. Pure: the forms that Ray, Python and common libraries write at a line's beginning."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timezone

LOOKED_AT_BYTES = 240

_DAY = rb"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
_CLOCK = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE = rb"(?P<zone>Z|[+-]\d\d:?\d\d)?"
ISO = re.compile(rb"^(?:\x1b\[[0-9;]{0,16}m)?(?:\([^)\n]{1,80}\) )?[\[(<\"']?" + _DAY + rb"[T _]" + _CLOCK + rb"\s?" + _ZONE)
GLOG = re.compile(rb"^[FEWI](?P<month>\d\d)(?P<day>\d\d) " + _CLOCK)
JSON = re.compile(
    rb'^\{.{0,200}?"(?:asctime|timestamp|time|ts|@timestamp)":\s{0,2}"' + _DAY + rb"[T ]" + _CLOCK + rb"\s?" + _ZONE,
)
JSON_NS = re.compile(rb'"timestamp_ns":\s{0,2}(?P<ns>\d{16,20})')


Fields = tuple[int, int, int, int, int, int]
"""Year, month, day, hour, minute, second."""


def machine_time(fields: Fields) -> float:
    """Unix seconds of what this machine's clock on the wall shows, summer time and all."""
    return time.mktime((*fields, 0, 0, -1))


def time_of(line: bytes, year: int, local: Callable[[Fields], float] = machine_time) -> int | None:
    """Unix milliseconds; None where the line says none.

    `year` is of a line that names none; `local` is what a time without a zone means: the machine that wrote it knows.
    """
    head = line[:LOOKED_AT_BYTES]
    if found := ISO.match(head) or JSON.match(head):
        return _moment(found, int(found["year"]), found["zone"], local)
    if found := GLOG.match(head):
        return _moment(found, year, None, local)
    if head.startswith(b"{") and (found := JSON_NS.search(line[:4096])):
        return int(found["ns"]) // 1_000_000
    return None


def _moment(found: re.Match[bytes], year: int, zone: bytes | None, local: Callable[[Fields], float]) -> int | None:
    month, day, hour, minute, second = (int(found[part]) for part in ("month", "day", "hour", "minute", "second"))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)  # checks the ranges
        seconds = local((year, month, day, hour, minute, second)) if zone is None else moment.timestamp() - _offset(zone)
    except (ValueError, OverflowError, OSError):
        return None
    fraction = (found["fraction"] or b"0")[:3].ljust(3, b"0")
    return round(seconds) * 1000 + int(fraction)


def _offset(zone: bytes) -> int:
    if zone == b"Z":
        return 0
    digits = zone[1:].replace(b":", b"")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if zone[:1] == b"-" else seconds
