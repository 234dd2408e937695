"""The command `raydeck`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

import clusterstate
import webapp
from webapp.commands.state import WrongConfiguration

COMMANDS = {
    "up": "webapp.commands.run",
    "web": "webapp.commands.run",
    "collect": "webapp.commands.run",
    "node": "webapp.commands.run",
    "projector": "webapp.commands.run",
    "user": "webapp.commands.accounts",
    "token": "webapp.commands.accounts",
    "audit": "webapp.commands.accounts",
    "list": "webapp.commands.tables",
    "env": "webapp.commands.ray_environment",
    "routes": "webapp.commands.routes",
    "backup": "webapp.commands.keeping",
    "restore": "webapp.commands.keeping",
    "doctor": "webapp.commands.doctor",
}
"""Command → the module whose `commands` holds it. Only the one that is called is imported."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is called or its help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, module in COMMANDS.items() if importlib.util.find_spec(module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found = {command.name: command for command in importlib.import_module(COMMANDS[cmd_name]).commands}
        return found.get(cmd_name)


def installed_version() -> str:
    try:
        return version("raydeck")
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(installed_version(), prog_name="raydeck")
def raydeck() -> None:
    """A live view of Ray clusters in the browser."""
    check_installation()


def check_installation() -> None:
    """Refuses to run with packages of another program: `webapp` and `workers` are common names."""
    import workers

    homes = {package.__name__: Path(str(package.__file__)).resolve().parent.parent for package in (webapp, workers, clusterstate)}
    if len(set(homes.values())) > 1:
        found = ", ".join(f"{name} from {home}" for name, home in homes.items())
        raise WrongConfiguration(f"Raydeck's packages come from different places ({found}). Install it in an environment of its own.")


def main() -> None:
    """Entry point. Exit codes: 0 stopped as asked, 1 failed while running, 2 wrong usage, 78 wrong configuration."""
    sys.exit(raydeck.main(prog_name="raydeck", standalone_mode=True))


if __name__ == "__main__":
    main()
