"""Writes the parts of docs/ that are made from the code."""

from __future__ import annotations

from pathlib import Path

from clusterstate.settings import describe

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Settings

Every setting is an environment variable and a command-line option of the same meaning; the option wins.
A variable that starts with `RAYDECK_` and is not in this list, or a value that cannot be used, stops the start with a sentence
that names it (exit code 78). This page is made from the code by `make docs`.

| variable | option | default | meaning |
| --- | --- | --- | --- |
"""


def settings_page() -> str:
    """The whole of docs/settings.md."""
    return HEAD + "".join(
        f"| `{variable}` | `{option}` | {f'`{default}`' if default else '–'} | {_cell(sentence)} |\n"
        for variable, option, default, sentence in describe()
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(settings_page(), "utf-8")
