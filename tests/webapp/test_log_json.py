"""Lines that are JSON objects, as they are read: time, level and message, the rest to be opened."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.webapp.conftest import Person
from tests.webapp.test_every_page import HOSTILE, Elements
from tests.webapp.test_log_view import NAME, PAGE, folder
from webapp.logs.json_lines import MOST_FIELDS, Structured, structured
from webapp.logs.text import Span

__all__ = ["folder"]

RAY = {
    "asctime": "2026-11-22 10:00:00,123", "levelname": "INFO", "message": "trained", "filename": "train.py", "lineno": 7,
    "job_id": "01000000", "worker_id": "ab" * 28, "task_id": "cd" * 24, "timestamp_ns": 1,
}  # fmt: skip


def told(**fields: object) -> Structured:
    found = structured(json.dumps(fields).encode())
    assert found is not None
    return found


def words(spans: list[Span]) -> str:
    return "".join(span.text for span in spans)


def test_rays_own_lines_say_time_level_and_message_first() -> None:
    found = told(**RAY)
    assert (found.time, found.level, words(found.message)) == ("2026-11-22 10:00:00,123", "INFO", "trained")
    assert [(key, words(value)) for key, value in found.fields][:3] == [("filename", "train.py"), ("lineno", "7"), ("job_id", "01000000")]


def test_a_message_of_several_lines_stays_that() -> None:
    found = told(msg="first\nsecond", exc_text="Traceback\n  x", level="error")
    assert words(found.message) == "first\nsecond"
    assert words(found.fields[0][1]) == "Traceback\n  x"


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"{}", b'{"a": 1}', b"[1]", b'{"message": 7}', b'{"message": "x"} and more', b'{"message": "\xff"}', b"{" * 9_000 + b"}"],
)
def test_other_lines_are_shown_as_they_are(line: bytes) -> None:
    assert structured(line) is None


def test_what_is_long_is_cut_and_said_to_be() -> None:
    found = told(message="x" * 9_000, **{f"key{number}": number for number in range(200)})
    assert found.hidden == 200 - MOST_FIELDS
    assert found.message[-1] == Span("…", (), True)
    assert structured(json.dumps({"message": "x" * 20_000}).encode()) is None


def test_the_page_shows_what_a_line_says_and_every_byte_in_the_raw_view(vera: Person, folder: Path) -> None:
    (folder / NAME).write_text(json.dumps(RAY) + "\n")
    page = vera.page(PAGE).text
    assert "<b>INFO</b> trained" in page
    assert re.search(r"<summary>6 more</summary>.*<dt>filename</dt>", page)
    assert "<details" not in vera.page(f"{PAGE}?raw=1").text.partition("<ol")[2].partition("</ol")[0]
    assert "&#34;levelname&#34;" in vera.page(f"{PAGE}?raw=1").text
    assert "<mark>train.py</mark>" in vera.page(f"{PAGE}?q=train.py").text, "what is found is shown where it stands"


def test_nothing_in_such_a_line_does_anything(vera: Person, folder: Path) -> None:
    (folder / NAME).write_text(
        json.dumps({HOSTILE: HOSTILE, "message": HOSTILE + "\x1b[31m\u202e", "level": HOSTILE, "time": HOSTILE}) + "\n"
    )
    page = vera.page(PAGE).text
    assert not [1 for name, attrs in Elements(page).found if name in {"b", "img"} and ("onerror" in attrs or attrs.get("id") == "marker")]
    assert "\x1b" not in page
    assert "\u202e" not in page
