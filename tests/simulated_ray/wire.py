"""Protobuf by hand, as far as it is needed to join ready-made records and to put bytes into text fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """A base-128 number, as the wire has it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """One length-delimited field: a message, a string or bytes."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(payload)) + payload


def number_field(number: int, value: int) -> bytes:
    """One integer field; nothing for 0, as proto3 does."""
    return varint(number << 3) + varint(value) if value else b""


def payload_of(record: bytes) -> bytes:
    """What `field` wrapped."""
    at = 0
    for _ in range(2):  # the tag, then the length
        while record[at] & 0x80:
            at += 1
        at += 1
    return record[at:]


def known(message: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `fields` that the installed Ray's message has; older releases lack some."""
    return {name: value for name, value in fields.items() if name in message.DESCRIPTOR.fields_by_name}


def fill(message: Any, fields: Mapping[str, Any]) -> bytes:
    """Set fields by Ray's names: text for enums, dicts for maps and messages, None to clear.

    Bytes for a text field are returned as wire bytes to append to the serialized message: so text that is not
    UTF-8 can be sent, which protobuf refuses to set. Unknown names are a TypeError.
    """
    raw = b""
    for name, value in fields.items():
        descriptor = message.DESCRIPTOR.fields_by_name.get(name)
        if descriptor is None:
            raise TypeError(f"{message.DESCRIPTOR.name} has no field {name!r}")
        if descriptor.type == descriptor.TYPE_STRING and isinstance(value, bytes):
            raw += field(descriptor.number, value)
        else:
            _set(message, descriptor, value)
    return raw


def _set(message: Any, descriptor: Any, value: Any) -> None:
    name = descriptor.name
    if value is None:
        message.ClearField(name)
    elif _is_repeated(descriptor):
        message.ClearField(name)
        _set_repeated(message, descriptor, value)
    elif descriptor.message_type is not None:
        _set_message(getattr(message, name), value)
    elif descriptor.enum_type is not None and isinstance(value, str):
        setattr(message, name, descriptor.enum_type.values_by_name[value].number)
    else:
        setattr(message, name, value)


def _set_message(target: Any, value: Any) -> None:
    target.SetInParent()
    if isinstance(value, Mapping):
        fill(target, value)
    else:
        target.CopyFrom(value)


def _set_repeated(message: Any, descriptor: Any, value: Any) -> None:
    target = getattr(message, descriptor.name)
    kind = descriptor.message_type
    if kind is not None and kind.GetOptions().map_entry:
        target.update(value)
    elif kind is not None:
        for item in value:
            _set_message(target.add(), item)
    else:
        target.extend(value)


def _is_repeated(descriptor: Any) -> bool:
    repeated = getattr(descriptor, "is_repeated", None)  # newer protobuf; `label` is going away there
    return bool(descriptor.label == descriptor.LABEL_REPEATED if repeated is None else repeated)
