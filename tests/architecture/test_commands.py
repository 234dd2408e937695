"""What the documentation tells people to type exists: every command, option and make target in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.architecture.repository import files, read
from webapp.cli import raydeck

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
OTHERS = {"cd", "docker", "git", "pip", "python3", "ray", "curl", "nginx", "sudo", "export"}


def _commands() -> list[tuple[str, str]]:
    """(document, line) of each command in a fenced `sh` block; lines that end in a backslash are joined."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"^```sh\n(.*?)^```", read(path), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(str(path), line.split(" # ")[0].strip()) for line in lines if line.strip() and not line.startswith("#")]
    return found


COMMANDS = _commands()
INLINE = [
    (str(path), text)
    for path in DOCUMENTS
    if path != Path("CHANGELOG.md")
    for text in re.findall(r"`((?:raydeck|make) [^`]+)`", read(path))
]


def test_the_documentation_shows_commands() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize(("document", "line"), [*COMMANDS, *INLINE])
def test_a_documented_command_exists(document: str, line: str) -> None:
    words = _without_environment(shlex.split(line.replace("…", "")))
    if not words:
        return
    if words[0] == "make":
        _check_make(words[1:])
    elif Path(words[0]).name == "raydeck":
        _check_raydeck(words[1:])
    else:
        assert Path(words[0]).name in OTHERS, f"{document}: {words[0]} is no command that the documentation explains"


def test_every_option_of_up_is_a_setting_or_documented() -> None:
    options = _options(_commands_of(raydeck)["up"])
    known = set(re.findall(r"--[a-z-]+", read("docs/settings.md") + read("README.md")))
    assert {name for name in options if not name.startswith("--no-")} - known - {"--help"} == set()


def _without_environment(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def _check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


def _check_raydeck(words: list[str]) -> None:
    """Subcommands and options are ones that the command knows; values are not looked at."""
    command: click.Command = raydeck
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        known = _commands_of(command)
        assert words[0] in known, f"raydeck has no command {words[0]}"
        command, words = known[words[0]], words[1:]
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= _options(command) | {"--help"}


def _commands_of(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    return {name: command for name in group.list_commands(context) if (command := group.get_command(context, name)) is not None}


def _options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")}
