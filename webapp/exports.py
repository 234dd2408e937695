"""A table's rows for programs and terminals: JSON, CSV and aligned text. Nothing in a cell can act on its reader."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import msgspec

FORMATS = {"json": "application/json", "csv": "text/csv; charset=utf-8", "txt": "text/plain; charset=utf-8"}
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With the full-width forms, which spreadsheets take for the same."""
UNSEEN = " \ufeff\u00a0\u200b\x00"
UNKNOWN = "-"
MAX_TEXT_CELL = 60
PIECE_BYTES = 64 * 1024
"""What an answer is sent in, at least."""


def as_json(value: object) -> bytes:
    """Compact JSON; what JSON has no word for (NaN, infinity) is null."""
    return msgspec.json.encode(value, enc_hook=_plain)


def as_csv(keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Comma separated, one header line of Ray's field names; spreadsheets find no formula in it."""
    return b"".join(csv_pieces(keys, rows))


def as_text(keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Aligned columns for a terminal, which sees no control character from the cluster."""
    return b"".join(text_pieces(keys, rows))


def sliced(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE_BYTES at most: what is done to each then takes a moment alone."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_BYTES):
            yield piece[start : start + PIECE_BYTES]


def json_pieces(answer: Mapping[str, Any], keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """A JSON object with `rows` first and then what stands in `answer`."""

    def written() -> Iterator[bytes]:
        comma = b'{"rows":['
        for row in rows:
            yield comma + as_json({key: row.get(key) for key in keys})
            comma = b","
        yield (b"" if comma == b"," else comma) + b"]," + as_json(answer)[1:]

    return _joined(written())


def csv_pieces(keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """`as_csv` bit by bit: what is held at once is one row, or PIECE_BYTES."""

    def written() -> Iterator[bytes]:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(keys)
        for row in rows:
            yield _taken(out)
            writer.writerow([_csv_cell(row.get(key)) for key in keys])
        yield _taken(out)

    return _joined(written())


def text_pieces(keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """`as_text` bit by bit. How wide columns are is known at the end: the cells, which are short, are held until then."""

    def written() -> Iterator[bytes]:
        lines = [[key.upper() for key in keys], *([_text_cell(row.get(key)) for key in keys] for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(keys))]
        for line in lines:
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            yield (text + "\n").encode("utf-8", "replace")

    return _joined(written())


def _joined(bits: Iterable[bytes]) -> Iterator[bytes]:
    """The same in pieces of PIECE_BYTES or more."""
    held: list[bytes] = []
    size = 0
    for bit in bits:
        held.append(bit)
        size += len(bit)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _taken(out: io.StringIO) -> bytes:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text.encode("utf-8", "replace")


def visible(text: str) -> str:
    """Control, bidi and other invisible characters as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode("ascii") for c in text)


def _csv_cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return value
    text = value if isinstance(value, str) else as_json(value).decode()
    return "'" + text if text.startswith(FORMULA_STARTS) or text.lstrip(UNSEEN).startswith(FORMULA_STARTS) else text


def _text_cell(value: object) -> str:
    if value is None or value in ("", [], {}):
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.6g}"
    whole = value if isinstance(value, str) else as_json(value).decode()
    text = visible(whole[: MAX_TEXT_CELL + 1])
    return text if len(text) <= MAX_TEXT_CELL else text[: MAX_TEXT_CELL - 1] + "…"


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return json.loads(json.dumps(value, default=str))
