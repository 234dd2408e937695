"""Fields of Ray's messages as plain Python values: absent is None, ids are hex, times are milliseconds.

Everything in a message may be chosen by a hostile program: texts are cut, numbers that no store can hold are dropped.
A field that the installed release does not have reads as absent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

MAX_TEXT = 262_144
CUT = "… [cut by Raydeck: the whole text is longer]"
MAX_ENTRIES = 10_000  # of one map or list
MAX_DEPTH = 32
MAX_INT = 2**63 - 1  # what SQLite and JSON readers can hold


_enum_names: dict[tuple[type[Any], str, int], str] = {}


def text(message: Any, name: str) -> str | None:
    """A string field; None when empty."""
    return clipped(getattr(message, name, "")) or None


def clipped(value: str) -> str:
    """A text that can be stored: at most MAX_TEXT characters, no lone surrogates (JSON may smuggle them in)."""
    if len(value) > MAX_TEXT:
        value = value[: MAX_TEXT - len(CUT)] + CUT
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def hex_id(message: Any, name: str) -> str | None:
    """An id field as hex digits; None when empty or Ray's nil id (all bits set)."""
    return hex_of(getattr(message, name, b""))


def hex_of(raw: bytes) -> str | None:
    return None if not raw or raw.count(b"\xff") == len(raw) else raw.hex()


def number(message: Any, name: str) -> int | None:
    """A number that is never 0 when it is known: times, pids. None for 0."""
    return whole(getattr(message, name, 0)) or None


def whole(value: int) -> int | None:
    return value if -MAX_INT <= value <= MAX_INT else None


def optional(message: Any, name: str) -> Any:
    """A field with presence: None when it is not set."""
    if name not in message.DESCRIPTOR.fields_by_name or not message.HasField(name):
        return None
    return getattr(message, name)


def port(message: Any, name: str) -> int | None:
    """A port; None where Ray says -1 or 0: nobody listens."""
    value = int(getattr(message, name, 0))
    return value if 0 < value < 65536 else None


def enum_name(message: Any, name: str) -> str:
    """The name of an enum field's value; UNKNOWN(17) for a number that the installed release does not know."""
    value = getattr(message, name)
    known = _enum_names.get((type(message), name, value))
    if known is None:
        known = enum_value_name(message.DESCRIPTOR.fields_by_name[name].enum_type, value)
        if len(_enum_names) < MAX_ENTRIES:  # numbers that no release knows could be many
            _enum_names[type(message), name, value] = known
    return known


def enum_value_name(descriptor: Any, value: int) -> str:
    known = descriptor.values_by_number.get(value)
    return str(known.name) if known is not None else f"UNKNOWN({value})"


def resources(values: Mapping[str, float]) -> dict[str, float]:
    """A map of amounts, sorted by name so that equal maps are equal bytes."""
    names = sorted(values)[:MAX_ENTRIES]
    return {clipped(name): float(values[name]) for name in names if math.isfinite(values[name])}


def plain_name(resource: str) -> str:
    """What a bundle's resource is of: CPU for `CPU_group_0_<id>`. (Each bundle's resource exists with its index and without.)"""
    return resource.partition("_group_")[0]


def plain_resources(values: Mapping[str, float]) -> dict[str, float]:
    """What is asked for, in the names that a person wrote: of a bundle's CPU it is the CPU; the bundle's own marker is left out."""
    asked: dict[str, float] = {}
    for name, amount in resources(values).items():
        plain = plain_name(name)
        if plain != "bundle" or plain == name:
            asked[plain] = max(amount, asked.get(plain, amount))
    return asked


def unreserved(values: Mapping[str, float]) -> dict[str, float]:
    """Amounts without the shadow resources of placement groups, which repeat what is in the plain ones."""
    return {name: amount for name, amount in resources(values).items() if "_group_" not in name}


def reserved(values: Mapping[str, float]) -> dict[str, float]:
    """Of the shadow resources of placement groups, what they repeat: CPU for all `CPU_group_<id>`.

    Each bundle's share is there once more with its index (`CPU_group_0_<id>`) and is not counted again.
    """
    amounts: dict[str, float] = {}
    for name, amount in values.items():
        plain, is_shadow, group = name.rpartition("_group_")
        if is_shadow and "_" not in group and plain != "bundle" and math.isfinite(amount):
            amounts[clipped(plain)] = amounts.get(clipped(plain), 0.0) + amount
    return {name: round(amounts[name], 4) for name in sorted(amounts)[:MAX_ENTRIES]}


def texts(values: Mapping[str, str]) -> dict[str, str]:
    return {clipped(name): clipped(values[name]) for name in sorted(values)[:MAX_ENTRIES]}


def text_list(values: Iterable[str]) -> list[str]:
    return [clipped(value) for value, _ in zip(values, range(MAX_ENTRIES), strict=False)]


def parsed_json(raw: bytes | str) -> Any:
    """JSON that a cluster holds, made storable; None when it is none."""
    try:
        return storable(json.loads(raw, parse_constant=lambda _: None))
    except (ValueError, RecursionError):
        return None


def storable(value: Any, depth: int = 0) -> Any:
    """A JSON tree with cut texts, finite numbers and an end."""
    if isinstance(value, str):
        return clipped(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INT else str(value)[:100]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= MAX_DEPTH:
        return CUT
    if isinstance(value, Mapping):
        return {clipped(str(key)): storable(item, depth + 1) for key, item in list(value.items())[:MAX_ENTRIES]}
    return [storable(item, depth + 1) for item in list(value)[:MAX_ENTRIES]]
