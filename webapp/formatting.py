"""Values as people read them. Pure; unknown is a dash, and text from a cluster cannot pretend to be anything else."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, TypeGuard
from zoneinfo import ZoneInfo

from jinja2 import Environment

from clusterstate.task_states import progress

UNKNOWN = "–"
THIN_SPACE = "\u202f"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
BYTE_RESOURCES = frozenset({"memory", "object_store_memory"})
ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]{0,2000}(?:\x07|\x1b\\|\x9c)"  # titles, links; one without an end must not hide what follows
    r"|\x1b[@-_]"
)
LONGEST_MS = 1e15
"""Some 30,000 years: more is a claim that no clock made."""
SHORT_ID = 8
SHORT_TEXT = 80
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def is_known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to show. What a cluster claims may be NaN or without end: that is unknown, too."""
    return value is not None and math.isfinite(value)


def bytes_text(value: float | None) -> str:
    """Binary units, three digits: 1.50 GiB."""
    if not is_known(value):
        return UNKNOWN
    size, sign = abs(float(value)), "-" if value < 0 else ""
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    digits = 0 if unit == "B" or size >= 100 else 1 if size >= 10 else 2
    return f"{sign}{size:.{digits}f} {unit}"


def rate(value: float | None) -> str:
    """Bytes a second."""
    return f"{bytes_text(value)}/s" if is_known(value) else UNKNOWN


def percent(value: float | None) -> str:
    if not is_known(value):
        return UNKNOWN
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def share(used: float | None, total: float | None) -> float | None:
    """Percent of a whole; None when either is unknown or there is nothing."""
    return 100 * used / total if is_known(used) and is_known(total) and total > 0 else None


def number(value: float | None) -> str:
    """Thousands set apart by a thin space; fractions only where there are any, of less than one to Ray's own 0.0001."""
    if not is_known(value):
        return UNKNOWN
    if isinstance(value, float) and not value.is_integer():
        digits = 2 if abs(value) >= 1 else 4
        return f"{value:,.{digits}f}".rstrip("0").rstrip(".").replace(",", THIN_SPACE)
    return f"{int(value):,}".replace(",", THIN_SPACE)


def duration(milliseconds: float | None) -> str:
    """The two largest units: 3 d 4 h, 5 m 3 s, 12.3 s, 40 ms."""
    if not is_known(milliseconds) or milliseconds > LONGEST_MS:
        return UNKNOWN
    if milliseconds < 0:
        return "0 s"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds)
    for size, name, lower, lower_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // lower
            return f"{whole // size} {name} {rest} {lower_name}" if rest else f"{whole // size} {name}"
    return UNKNOWN


def lasted(start_ms: float | None, end_ms: float | None, now_ms: float) -> str:
    """From a start until an end, or until now."""
    return UNKNOWN if start_ms is None else duration((now_ms if end_ms is None else end_ms) - start_ms)


def moment(milliseconds: float | None, zone: str = "UTC") -> str:
    """YYYY-MM-DD HH:MM:SS in an IANA zone. For the browser's own zone it says UTC, until a script there rewrites it."""
    if not is_known(milliseconds):
        return UNKNOWN
    try:
        text = (EPOCH + timedelta(milliseconds=milliseconds)).astimezone(_zone(zone)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return f"{milliseconds:.0f} ms"
    return f"{text} UTC" if zone == "browser" else text


def iso(milliseconds: float | None) -> str:
    """For a machine: the datetime attribute, in UTC."""
    if not is_known(milliseconds):
        return ""
    try:
        return (EPOCH + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return ""


TICKS = {"day": "%Y-%m-%d", "minute": "%H:%M", "second": "%H:%M:%S"}


def tick_label(milliseconds: int, detail: str, zone: str = "UTC") -> str:
    """A round moment below a picture, as short as `detail` (day, minute, second or millisecond) allows; in UTC for the browser's zone."""
    try:
        at = (EPOCH + timedelta(milliseconds=milliseconds)).astimezone(_zone(zone))
    except OverflowError:
        return ""
    return at.strftime(TICKS[detail]) if detail in TICKS else f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def short_id(value: str | None) -> str:
    """The beginning of a long id; short ones whole."""
    if not value:
        return UNKNOWN
    return visible(value if len(value) <= 2 * SHORT_ID else value[:SHORT_ID] + "…")


def visible(text: object) -> str:
    """Text from a cluster with colour codes taken out and everything invisible or reordering shown as what it is."""
    plain = ANSI.sub("", str(text))
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_shown(character) for character in plain)


def shortened(text: object, length: int = SHORT_TEXT) -> str:
    """The first line, at most so long. Blanks alone would be a link that nobody sees, so they are named."""
    cut = str(text)[: 4 * length + 400]  # colour codes go first, and 100 kB need not be read for 80 characters
    line = visible(cut.strip().split("\n", 1)[0]).strip() or ("(blank)" if cut else "")
    return line[: length - 1] + "…" if len(line) > length or len(str(text)) > len(cut) else line


def is_long(text: object, length: int = SHORT_TEXT) -> bool:
    """Whether shortened() leaves something out."""
    return len(str(text)) > length or "\n" in str(text).strip()


def quantity(name: str, value: float | None) -> str:
    """An amount of a logical resource: memory in bytes, all else as a number."""
    return bytes_text(value) if name in BYTE_RESOURCES else number(value)


def resources(amounts: Mapping[str, float] | None) -> str:
    """CPU 2, GPU 1, memory 3.00 GiB; markers of nodes and placement groups left out."""
    if not amounts:
        return UNKNOWN
    return ", ".join(f"{visible(name)} {quantity(name, value)}" for name, value in plain_resources(amounts))


def plain_resources(amounts: Mapping[str, float] | None) -> list[tuple[str, float]]:
    """Resources that people count in, CPU and GPU first. A node's own marker and a placement group's shadows are not."""
    order = {"CPU": 0, "GPU": 1, "memory": 2, "object_store_memory": 3}
    shown = [(name, value) for name, value in (amounts or {}).items() if not name.startswith("node:") and "_group_" not in name]
    return sorted(shown, key=lambda item: (order.get(item[0], 9), item[0]))


def used_resources(total: Mapping[str, float] | None, available: Mapping[str, float] | None) -> list[tuple[str, float | None, float]]:
    """(name, used, total) of each resource; used is None where it is not known."""
    return [(name, None if available is None else whole - available.get(name, 0.0), whole) for name, whole in plain_resources(total)]


def labels(pairs: Mapping[str, Any] | None) -> str:
    if not pairs:
        return UNKNOWN
    return ", ".join(f"{visible(key)}={visible(value)}" for key, value in pairs.items())


def pretty(value: object) -> str:
    """A structure as indented JSON, for reading: words of any script stay as they are, what cannot be seen is shown."""
    return visible(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def without_private(mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    """A runtime environment without the entries that Ray keeps for itself: their names begin with an underscore."""
    return {key: value for key, value in (mapping or {}).items() if not key.startswith("_")}


def seconds_in(user_s: float | None, system_s: float | None) -> str:
    """CPU time: 1.2 s user, 300 ms system."""
    if user_s is None and system_s is None:
        return UNKNOWN
    return ", ".join(
        f"{UNKNOWN if value is None else duration(value * 1000)} {name}" for value, name in ((user_s, "user"), (system_s, "system"))
    )


def short_time_zones(current: str) -> tuple[str, ...]:
    """The zones offered on every page: the browser's, UTC and the chosen one."""
    return tuple(dict.fromkeys(("browser", "UTC", current)))


def points(values: Sequence[float | None], width: int = 100, height: int = 24, top: float | None = None) -> list[str]:
    """Polylines of a sparkline: one for each run of known values, as SVG points."""
    known = [value for value in values if is_known(value)]
    if not known:
        return []
    highest = top or max(known) or 1.0
    step = width / max(1, len(values) - 1)
    runs: list[list[str]] = [[]]
    for position, value in enumerate(values):
        if not is_known(value):
            runs.append([])
        else:
            runs[-1].append(f"{position * step:.1f},{height - 1 - min(max(value / highest, 0.0), 1.0) * (height - 2):.1f}")
    return [" ".join(run if len(run) > 1 else run * 2) for run in runs if run]


def summed(items: Iterable[Any], name: str) -> float | None:
    """Sum of a field over those that have it; None when none has."""
    known = [value for value in (getattr(item, name) for item in items) if is_known(value)]
    return sum(known) if known else None


def register(environment: Environment) -> None:
    """Every function here that templates use, as a filter or global."""
    environment.filters.update(
        bytes=bytes_text,
        rate=rate,
        percent=percent,
        number=number,
        duration=duration,
        moment=moment,
        iso=iso,
        short_id=short_id,
        tick_label=tick_label,
        visible=visible,
        shortened=shortened,
        is_long=is_long,
        resources=resources,
        labels=labels,
        pretty=pretty,
        task_progress=progress,
    )
    environment.globals.update(
        share=share,
        lasted=lasted,
        used_resources=used_resources,
        quantity=quantity,
        points=points,
        summed=summed,
        seconds_in=seconds_in,
        short_time_zones=short_time_zones,
        without_private=without_private,
    )


def _zone(name: str) -> tzinfo:
    return timezone.utc if name in {"UTC", "browser"} else ZoneInfo(name)


def _shown(character: str) -> str:
    if character in "\n\t" or character.isprintable():
        return character
    if character == "\r":
        return "␍"
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if unicodedata.category(character) in {"Zs"}:
        return " "
    return f"⟨U+{ord(character):04X}⟩"
