"""Rows to bytes and back: msgpack arrays in field order, ids that are hex digits as raw bytes.

A row class may name the moment from which its others are counted (`moments_since`): small numbers are a fifth of the size.
Fields may be added to the end of a dataclass only: older rows then decode with the default.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints

import msgspec

Row = TypeVar("Row")

_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
_MOMENTS_FROM = 10**12
"""Unix milliseconds are more (2001 and later), times between moments of one row less."""


@dataclasses.dataclass(frozen=True)
class Codec:
    """How one row class is written and read."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    values: Callable[[bytes], list[Any]]  # in field order, without the row around them; ids as `pack_id` made them


@cache
def codec(row_class: Any) -> Codec:
    """The codec of a model dataclass, built once."""
    names = [f.name for f in dataclasses.fields(row_class)]
    packed = [index for index, name in enumerate(names) if name.endswith("_id")]
    hints = get_type_hints(row_class)
    struct_fields: list[Any] = []
    for f in dataclasses.fields(row_class):
        kind = Any if f.name.endswith("_id") else hints[f.name]
        struct_fields.append((f.name, kind, *_default(f)))
    struct = msgspec.defstruct(row_class.__name__ + "Row", struct_fields, array_like=True, gc=False)
    first, others = _moments(row_class, names)
    values_of = attrgetter(*names)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(struct)

    def encode(row: Any) -> bytes:
        values = list(values_of(row)) if len(names) > 1 else [values_of(row)]
        for index in packed:
            value = values[index]
            if value is not None:
                values[index] = _pack_often(value) if index else pack_id(value)  # the first is the row's own: it hardly comes again
        if others:
            _count_from(values, first, others)
        return encoder.encode(values)

    def values(blob: bytes) -> list[Any]:
        found = list(msgspec.structs.astuple(decoder.decode(blob)))
        if others:
            _count_from_no_more(found, first, others)
        return found

    def decode(blob: bytes) -> Any:
        found = values(blob)
        for index in packed:
            found[index] = unpack_id(found[index])
        return row_class(*found)

    return Codec(encode, decode, values)


def pack_id(value: Any) -> Any:
    """Hex digits as raw bytes, half the size; anything else stays text."""
    if isinstance(value, str) and _HEX.match(value):
        return bytes.fromhex(value)
    return value


_pack_often = lru_cache(16_384, typed=True)(pack_id)


def unpack_id(value: Any) -> Any:
    """The text that pack_id was given."""
    return value.hex() if isinstance(value, bytes) else value


def id_to_field(row_id: str) -> bytes:
    """A row's id as a hash field: x + raw bytes for hex digits, t + text otherwise."""
    packed = pack_id(row_id)
    return b"x" + packed if isinstance(packed, bytes) else b"t" + row_id.encode("utf-8", "surrogatepass")


def field_to_id(name: bytes) -> str:
    """The row id of a hash field."""
    return name[1:].hex() if name[:1] == b"x" else name[1:].decode("utf-8", "surrogatepass")


def _moments(row_class: Any, names: list[str]) -> tuple[int, list[int]]:
    """Where the moment stands from which others are counted, and where those do."""
    since = getattr(row_class, "moments_since", None)
    if since is None:
        return 0, []
    kinds = {f.name: str(f.type) for f in dataclasses.fields(row_class)}
    others = [index for index, name in enumerate(names) if name.endswith("_ms") and name != since and kinds[name].startswith("int")]
    return names.index(since), others


def _count_from(values: list[Any], first: int, others: list[int]) -> None:
    since = values[first]
    if since is not None:
        for index in others:
            if values[index] is not None:
                values[index] -= since


def _count_from_no_more(values: list[Any], first: int, others: list[int]) -> None:
    """Rows of an older Raydeck have whole moments."""
    since = values[first]
    if since is not None:
        for index in others:
            if values[index] is not None and values[index] < _MOMENTS_FROM:
                values[index] += since


def _default(f: dataclasses.Field[Any]) -> tuple[Any, ...]:
    if f.default is not dataclasses.MISSING:
        return (f.default,)
    if f.default_factory is not dataclasses.MISSING:
        return (msgspec.field(default_factory=f.default_factory),)
    return ()
