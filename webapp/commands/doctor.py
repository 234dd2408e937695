"""`raydeck doctor`: what is missing on this machine, and how to get it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from clusterstate.settings import BadSetting, read_settings
from webapp.commands.state import WrongConfiguration

FAILED = 1


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@click.option("--redis-url", default=None, help="As `raydeck node` is given it.")
@click.option("--state-dir", type=click.Path(path_type=Path), default=None, help="Folder of the Raydeck of this machine.")
def doctor(as_json: bool, redis_url: str | None, state_dir: Path | None) -> None:
    """Check what questions to this machine need: Redis, ripgrep, py-spy, memray, and that Ray's workers may be traced.

    Run it as the user of `raydeck up` or `raydeck node`. Exit code 1: there is a problem; what is optional and missing is none.
    """
    from workers.doctor import PROBLEM, examine

    try:
        settings = read_settings(state_dir=state_dir, redis_url=redis_url)
    except BadSetting as error:
        raise WrongConfiguration(str(error)) from error
    found = examine(settings)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(f"{finding.state:<9} {finding.what}: {finding.says}")
            if finding.fix:
                click.echo(f"{'':<9} → {finding.fix}")
    sys.exit(FAILED if any(finding.state == PROBLEM for finding in found) else 0)


commands: list[click.Command] = [doctor]
