"""A moment as somebody names it in a URL: a time, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clusterstate.query import BadQuery
from webapp.preferences import BROWSER

AGO = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhd])")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
UNIX_MS = re.compile(r"[0-9]{12,14}")


def moment_asked(name: str, text: str, now: float, zone: str) -> int | None:
    """Unix milliseconds of `15m` (ago), `2026-11-23 10:00`, the same with a zone, or of such a number; None for no text.

    A time without a zone is of the zone chosen, of UTC where that is the browser's. Raises BadQuery.
    """
    text = text.strip()
    if not text:
        return None
    if found := AGO.fullmatch(text):
        return int((now - int(found["number"]) * UNITS_S[found["unit"]]) * 1000)
    if UNIX_MS.fullmatch(text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text[:64].replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=_zone(zone))
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadQuery(
            f"{name} is {text[:32]!r}; it must be how long ago (30s, 15m, 2h, 7d) or a time such as 2026-11-23 10:00 or 2026-11-23T10:00Z."
        ) from None


def _zone(name: str) -> tzinfo:
    if name == BROWSER:
        return timezone.utc
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        return timezone.utc
