"""`raydeck up` and the single roles: what they start, what they say, and when they are ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from clusterstate.settings import BadSetting
from webapp.commands.hidden_password import hide_password
from webapp.commands.lock import AlreadyRunning
from webapp.commands.options import settings_from, settings_options
from webapp.commands.serving import PortTaken
from webapp.commands.state import WrongConfiguration

ready_file_option = click.option(
    "--ready-file", type=click.Path(path_type=Path, dir_okay=False), default=None, help="A 0600 JSON file that is there while all is up."
)


@click.command()
@click.option("--demo", is_flag=True, help="Start a real local Ray cluster with a workload, and watch that.")
@ready_file_option
@settings_options
def up(demo: bool, ready_file: Path | None, **given: Any) -> None:
    """Everything for one machine: Redis, collectors, index and pages.

    Watches the cluster at --address, else RAY_ADDRESS, else the one that runs on this machine; waits for one if there
    is none.
    """
    if demo and given.get("address"):
        raise click.UsageError("--demo starts a cluster of its own; --address names another. Give one of them.")
    _run("up", given, ready_file, demo=demo)


@click.command()
@ready_file_option
@settings_options
def web(ready_file: Path | None, **given: Any) -> None:
    """The pages alone. Needs a projector beside it, and the Redis that collectors write to."""
    _run("web", given, ready_file)


@click.command()
@ready_file_option
@settings_options
def collect(ready_file: Path | None, **given: Any) -> None:
    """The cluster collector alone. With several for one cluster, one works and the others stand by."""
    _run("collect", given, ready_file)


@click.command()
@ready_file_option
@settings_options
def node(ready_file: Path | None, **given: Any) -> None:
    """This host's node collector and its workers for questions."""
    _run("node", given, ready_file)


@click.command()
@ready_file_option
@settings_options
def projector(ready_file: Path | None, **given: Any) -> None:
    """The process that keeps this host's index for the pages."""
    _run("projector", given, ready_file)


commands: list[click.Command] = [up, web, collect, node, projector]


def _run(command: str, given: dict[str, Any], ready_file: Path | None, demo: bool = False) -> None:
    from webapp.commands.instance import Instance

    settings = settings_from(given)
    hide_password()
    try:
        instance = Instance(command, settings, ready_file, demo=demo, environ=os.environ, say=_say())
        code = instance.run()
    except AlreadyRunning as error:
        raise click.ClickException(str(error)) from None
    except PortTaken as error:
        raise click.ClickException(str(error)) from None
    except BadSetting as error:
        raise WrongConfiguration(str(error)) from None
    sys.exit(code)


def _say() -> Callable[[str], None]:
    def say(sentence: str) -> None:
        try:
            click.echo(sentence)
            sys.stdout.flush()
        except OSError:
            pass  # the terminal is gone; the work is not

    return say
