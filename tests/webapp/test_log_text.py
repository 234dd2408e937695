"""Lines of logs as they are shown: colours as classes, marks for what is no text, and nothing that does anything."""

from __future__ import annotations

import random

import pytest

from webapp.logs.text import MAX_SPANS, Span, plain, spans


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain", [Span("plain")]),
        (b"", []),
        (b"\x1b[31mred\x1b[0m not", [Span("red", ("fg-red",)), Span(" not")]),
        (b"\x1b[1;92;44mloud\x1b[22mless", [Span("loud", ("fg-green", "bg-blue", "bold")), Span("less", ("fg-green", "bg-blue"))]),
        (b"\x1b[38;5;196mone of many\x1b[39m", [Span("one of many", ("fg-red",))]),
        (b"\x1b[38;2;10;20;250mone of all\x1b[m", [Span("one of all", ("fg-blue",))]),
        (b"\x1b[2K\x1b[1Amoved\x1b[?25l", [Span("moved")]),
        (b"\x1b]0;title\x07text\x1b]8;;http://evil/\x1b\\link", [Span("textlink")]),
        (b"10%\r55%\r100% done\r", [Span("100% done")]),
        (b"of Windows\r", [Span("of Windows")]),
        (b"half \xc3 and \xff", [Span("half "), Span("\\xc3", (), True), Span(" and "), Span("\\xff", (), True)]),
        (b"\x00\x08\x07", [Span("\\x00\\x08\\x07", (), True)]),
        ("turned \u202e round".encode(), [Span("turned "), Span("U+202E", (), True), Span(" round")]),
        (b"tab\tstays", [Span("tab\tstays")]),
        (b"<script>alert(1)</script>", [Span("<script>alert(1)</script>")]),
        (b"\x1b", [Span("\\x1b", (), True)]),
        (b"\x1b[999999999999m\x1b[31;;;;mx", [Span("x")]),
    ],
)
def test_what_is_shown_of_a_line(line: bytes, shown: list[Span]) -> None:
    assert spans(line) == shown


def test_the_raw_view_shows_every_byte() -> None:
    assert spans(b"10%\r\x1b[31m20%", raw=True) == [Span("10%"), Span("\\x0d\\x1b", (), True), Span("[31m20%")]


def test_the_text_alone_is_what_is_searched() -> None:
    assert plain(b"\x1b[31mERROR\x1b[0m: \xff") == "ERROR: \ufffd"


def test_any_bytes_are_shown_without_a_control_character_and_within_bounds() -> None:
    chance = random.Random(7)
    for _ in range(300):
        line = bytes(chance.choice(b"\x1b[]0123456789;m\r\x07\x9b\xc3\xa9\xe2\x80\xaeabc\\") for _ in range(chance.randrange(4_000)))
        for raw in (False, True):
            found = spans(line, raw=raw)
            text = "".join(span.text for span in found)
            assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 or letter == "\u202e" for letter in text)


def test_a_line_of_nothing_but_colours_is_bounded() -> None:
    found = spans(b"".join(b"\x1b[3%dmx" % (number % 8) for number in range(20_000)))
    assert len(found) <= MAX_SPANS + 20
    assert sum(len(span.text) for span in found) == 20_000, "its text is all there"


@pytest.mark.parametrize(
    ("line", "found", "shown"),
    [
        (b"it was lost", [(7, 11)], [Span("it was "), Span("lost", is_found=True)]),
        (b"aXbX", [(1, 2), (3, 4)], [Span("a"), Span("X", is_found=True), Span("b"), Span("X", is_found=True)]),
        (
            b"\x1b[31mred\x1b[0m end",
            [(6, 14)],
            [Span("r", ("fg-red",)), Span("ed", ("fg-red",), is_found=True), Span(" e", is_found=True), Span("nd")],
        ),
        ("é lost".encode(), [(3, 7)], [Span("é "), Span("lost", is_found=True)]),
        (b"10%\r20% done", [(0, 3), (8, 12)], [Span("20% "), Span("done", is_found=True)]),
        (b"a\xffb", [(1, 2)], [Span("a"), Span("\\xff", (), True, True), Span("b")]),
        (b"short", [(3, 900)], [Span("sho"), Span("rt", is_found=True)]),
        (b"none", [(2, 2)], [Span("none")]),
    ],
)
def test_what_was_searched_stands_out_whatever_colours_it_has(line: bytes, found: list[tuple[int, int]], shown: list[Span]) -> None:
    assert spans(line, found=found) == shown
