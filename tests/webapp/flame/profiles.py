"""Profiles to look at: small ones written as text, hostile ones, and random ones."""

from __future__ import annotations

import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clusterstate.stacks import SAMPLES, Frame, Merging, Samples, Thread
from webapp.formatting import register

MAIN = Thread(7, 7, "MainThread")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "]]><b>",
    "</title></svg><script>",
    "\u202eright to left\u202c",
    "nul\x00 escape\x1b[31m bell\x07",
    "\ufffe\uffff\x0b",
    "x" * 500,
    "",
    "a;b\nc d 12",
    "{{ 7 * 7 }}",
    "&amp;&#60;",
    "=cmd|' /C calc'!A0",
    "関数",
)


def profile(*stacks: str, unit: str = SAMPLES) -> Samples:
    """Of lines such as "main;load 3": functions of app.py, or file:function."""
    merging = Merging(unit)
    for line in stacks:
        text, count = line.rsplit(" ", 1)
        merging.add(MAIN, [_frame(name) for name in text.split(";") if name], int(count))
    return merging.samples()


def _frame(name: str) -> Frame:
    file, _, function = name.rpartition(":")
    return Frame(function, file or "app.py", 1)


def random_profile(seed: int, stacks: int = 200) -> Samples:
    """With recursion, several threads, processes and lines."""
    chance = random.Random(seed)
    merging = Merging()
    for _ in range(stacks):
        thread = Thread(chance.choice((7, 8)), chance.randrange(3), chance.choice(("MainThread", "pool")))
        frames = [Frame(f"f{chance.randrange(9)}", f"m{chance.randrange(3)}.py", chance.randrange(4)) for _ in range(chance.randrange(12))]
        merging.add(thread, frames, chance.randrange(1, 9))
    return merging.samples()


def hostile_profile() -> Samples:
    """Every hostile text as a function, a file and a thread."""
    merging = Merging()
    for place, one in enumerate(HOSTILE):
        for other in HOSTILE:
            merging.add(Thread(7, place, one), [Frame("main", "app.py", 1), Frame(one, other, 3), Frame(other, one, 0)], place + 1)
    return merging.samples()


def to(**arguments: Any) -> str:
    return "/c/demo/profiles/1?" + urlencode({name: value for name, value in arguments.items() if value is not None})


def rendered(template: str, **context: Any) -> str:
    """A template alone, as strict as the app has it."""
    folder = Path(__file__).parents[3] / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    register(environment)
    return environment.get_template(template).render(**context)


class Tags(HTMLParser):
    """Names of the elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
