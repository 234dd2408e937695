"""Templates: nothing in them needs an exception from the content security policy, or trusts a cluster's text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.meta import find_undeclared_variables

from tests.architecture.repository import files, read
from webapp.formatting import register

TEMPLATES = [path for path in files() if path.parts[0] == "templates"]
SCRIPTS = [path for path in files() if path.parts[:2] == ("static", "js")]

NAMED_FRAGMENT = re.compile(r'"([a-z_]+/_[a-z_]+\.html)"')

FORBIDDEN = {
    "an inline style": r"<[^>]*\sstyle\s*=",
    "a style element": r"<style\b",
    "an inline script": r"<script(?![^>]*\bsrc=)[^>]*>",
    "a script with text in it": r"<script[^>]*>\s*[^<\s]",
    "an event handler": r"<[^>]*\son[a-z]+\s*=",
    "hx-on": r"\bhx-on\b",
    "an evaluated value": r"""=\s*["']\s*(js|javascript):""",
    "a trigger with a condition": r"""hx-trigger\s*=\s*["'][^"']*\[""",
    "text taken for markup": r"\|\s*safe\b|\bMarkup\(|autoescape\s+false",
    "an address of another site": r"""(src|href|action|hx-get|hx-post)\s*=\s*["']\s*(https?:)?//""",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_template_uses(what: str) -> None:
    found = [(str(path), match[0][:120]) for path in TEMPLATES for match in re.finditer(FORBIDDEN[what], read(path), re.IGNORECASE)]
    assert not found


def test_no_address_is_written_by_hand() -> None:
    """Addresses come from href(...): they carry the prefix, the cluster and the session."""
    by_hand = re.compile(r"""\b(href|action|src|hx-get|hx-post)\s*=\s*["']/""")
    found = [(str(path), match[0]) for path in TEMPLATES for match in by_hand.finditer(read(path))]
    assert not found


def test_fragments_are_named_with_a_leading_underscore_and_pages_extend_the_base() -> None:
    pages = [path for path in TEMPLATES if _is_page(path)]
    assert [str(path) for path in pages if "{% extends" not in read(path)] == []


def test_fragments_that_are_answered_alone_import_the_macros_that_they_use() -> None:
    """What includes a fragment may have imported them; nothing has when it is polled."""
    alone = {name for path in files() if path.parts[0] == "webapp" and path.suffix == ".py" for name in NAMED_FRAGMENT.findall(read(path))}
    macros = {match[1] for path in TEMPLATES for match in re.finditer(r'{% import "macros/[^"]+" as (\w+)', read(path))}
    parser = Environment(autoescape=True)
    register(parser)
    assert len(alone) > 10
    missing = {name: found for name in alone if (found := macros & find_undeclared_variables(parser.parse(read(Path("templates", name)))))}
    assert not missing


def test_our_scripts_evaluate_nothing_and_write_no_markup() -> None:
    forbidden = re.compile(r"\beval\(|new Function\(|\.innerHTML\s*=|\.outerHTML\s*=|insertAdjacentHTML|document\.write|\.style\.")
    found = [(str(path), match[0]) for path in SCRIPTS for match in forbidden.finditer(read(path))]
    assert not found


def test_our_style_sheets_and_scripts_fetch_nothing_from_another_site() -> None:
    foreign = re.compile(r"(https?:)?//[a-z0-9-]+\.[a-z]{2,}", re.IGNORECASE)
    own = [path for path in files() if path.parts[0] == "static" and path.suffix in {".css", ".js"}]
    found = [(str(path), match[0]) for path in own for match in foreign.finditer(read(path)) if "www.w3.org" not in match[0]]
    assert not found


def _is_page(path: Path) -> bool:
    return (
        path.suffix == ".html" and not path.name.startswith("_") and path.name != "base.html" and path.parts[1] not in {"macros", "shared"}
    )
