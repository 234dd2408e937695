"""Windows of a log file: all of it, once, in order, from either end, whatever bytes it holds."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workers.sources import log_windows
from workers.sources.log_windows import Piece, backward, count_lines, forward

CONTENTS = {
    "empty": b"",
    "one line": b"one\n",
    "no last newline": b"one\ntwo",
    "empty lines": b"\n\n\nx\n\n",
    "only newlines": b"\n" * 5_000,
    "CR only": b"10%\r20%\r30%\r" * 20_000,
    "one long line": b"x" * 900_000,
    "a long line amid others": b"a\n" * 100 + b"y" * 400_000 + b"\nb\n" * 100,
    "random bytes": random.Random(1).randbytes(700_000),
    "NUL": b"\0" * 300_000,
    "UTF-16": ("zeile\n" * 30_000).encode("utf-16"),
    "characters of four bytes": "\U0001f600".encode() * 200_000,
    "lines": b"".join(b"line %d\n" % number for number in range(60_000)),
}


@contextmanager
def opened(folder: Path, content: bytes) -> Iterator[int]:
    path = folder / "file"
    path.write_bytes(content)
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def whole(pieces: list[Piece]) -> bytes:
    return b"".join(piece.text + b"\n" * piece.ends for piece in pieces)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_windows_forward_are_the_file(tmp_path: Path, content: bytes) -> None:
    with opened(tmp_path, content) as file:
        pieces: list[Piece] = []
        at = 0
        while at < len(content):
            window = forward(file, at)
            assert window.start == at
            assert window.end > at
            pieces += window.pieces
            at = window.end
    assert whole(pieces) == content
    check(pieces, content)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_windows_backward_are_the_file(tmp_path: Path, content: bytes) -> None:
    with opened(tmp_path, content) as file:
        pieces: list[Piece] = []
        until = len(content)
        while until > 0:
            window = backward(file, until)
            assert window.end == until
            assert window.start < until
            pieces = [*window.pieces, *pieces]
            until = window.start
    assert whole(pieces) == content
    check(pieces, content)


def check(pieces: list[Piece], content: bytes) -> None:
    for piece in pieces:
        assert content[piece.offset : piece.offset + len(piece.text)] == piece.text
        assert b"\n" not in piece.text
        assert len(piece.text) <= log_windows.WINDOW_BYTES
        assert piece.starts == (piece.offset == 0 or content[piece.offset - 1 : piece.offset] == b"\n")


def test_a_character_is_not_cut_in_two(tmp_path: Path) -> None:
    with opened(tmp_path, CONTENTS["characters of four bytes"]) as file:
        for window in (forward(file, 0), forward(file, 100_001), backward(file), backward(file, 700_000)):
            assert len(window.pieces) > 1
            for piece in window.pieces:
                piece.text.decode()


def test_any_byte_opens_the_line_that_holds_it(tmp_path: Path) -> None:
    content = CONTENTS["lines"]
    with opened(tmp_path, content) as file:
        for at in (0, 1, 7, 8, 300_000, len(content) - 1):
            first = forward(file, at).pieces[0]
            assert first.starts
            assert first.offset <= at < first.after
        assert forward(file, len(content)).pieces == (), "a file that ends with a newline has nothing after it"


def test_the_last_lines_come_first(tmp_path: Path) -> None:
    with opened(tmp_path, b"one\ntwo\nthree") as file:
        assert [piece.text for piece in backward(file, max_lines=2).pieces] == [b"two", b"three"]
        assert [piece.ends for piece in backward(file).pieces] == [True, True, False]


def test_a_sparse_file_of_ten_gigabytes_is_read_where_it_is_asked(tmp_path: Path) -> None:
    with opened(tmp_path, b"") as file, (tmp_path / "file").open("r+b") as writing:
        writing.truncate(10 << 30)
        writing.seek(10 << 30)
        writing.write(b"\nthe end\n")
        writing.flush()
        assert backward(file).pieces[-1].text == b"the end"
        assert forward(file, 5 << 30).start == 5 << 30
        assert count_lines(file, 10 << 30, budget_s=0.0) is None


def test_lines_are_counted(tmp_path: Path) -> None:
    with opened(tmp_path, CONTENTS["lines"]) as file:
        assert count_lines(file, 0, 1.0) == 0
        assert count_lines(file, len(b"line 0\nline 1\n"), 1.0) == 2
        assert count_lines(file, len(CONTENTS["lines"]), 1.0) == 60_000


def test_counting_is_not_begun_where_it_would_take_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.log"
    path.write_bytes(b"a line\n" * 3_000_000)
    clock = iter(number * 0.02 for number in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with path.open("rb") as file:
        assert count_lines(file.fileno(), path.stat().st_size, 0.08) is None
    assert next(clock) == pytest.approx(0.04), "after one block"
