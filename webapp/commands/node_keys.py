"""`raydeck token node` and `raydeck token collector`: keys for workers on machines that do not hold the master key."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from clusterstate import hosts
from clusterstate.settings import BadSetting, is_cluster_name
from webapp.commands.state import WrongConfiguration, open_journal, settings_of, state_dir_option, who_asks

cluster_option = click.option("--cluster", default=None, help="Its name in URLs. Else that of the settings, else default.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="A new file (0600) to write it to. Else it is printed."
)


@click.command("node")
@click.argument("hostname")
@cluster_option
@out_option
@state_dir_option
def node_key(hostname: str, cluster: str | None, out: Path | None, state_dir: Path | None) -> None:
    """Make the key of the node collector on HOSTNAME, which `raydeck node --key-file` takes there.

    With it that machine, and no other, answers what this Raydeck asks it. HOSTNAME is what `hostname` says there.
    """
    _hand_out(cluster, hosts.readable_name(hostname), out, state_dir)


@click.command("collector")
@cluster_option
@out_option
@state_dir_option
def collector_key(cluster: str | None, out: Path | None, state_dir: Path | None) -> None:
    """Make the key of a cluster's collector, for `raydeck collect --key-file` on other machines."""
    _hand_out(cluster, None, out, state_dir)


def _hand_out(cluster: str | None, host: str | None, out: Path | None, state_dir: Path | None) -> None:
    from clusterstate.store import queues, signing

    settings = settings_of(state_dir)
    name = cluster or settings.cluster_name or "default"
    if not is_cluster_name(name):
        raise click.UsageError(f"{name[:64]!r} is not the name of a cluster: 1 to 63 letters, digits, '-', '_' or '.'.")
    scope = queues.collector_name(name) if host is None else queues.worker_name(name, host)
    with open_journal(state_dir) as journal:
        try:
            line = signing.key_line(scope, signing.scope_key(signing.master_key(settings.state_dir), scope))
        except BadSetting as error:
            raise WrongConfiguration(str(error)) from error
        journal.audit(who_asks(), "token.node" if host else "token.collector", {"scope": scope}, time.time())
    if out is not None:
        write_new(out, line)
        click.echo(f"Wrote the key of {scope} to {out}. Take it there, readable by the user that runs Raydeck alone.")
        return
    if sys.stdout.isatty():
        click.echo("Keep it safe: write it to a file there that only the user that runs Raydeck can read (chmod 600).", err=True)
    click.echo(line, nl=False)


def write_new(path: Path, text: str) -> None:
    """A file of its owner alone that was not there before. Raises ClickException."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}. Name a new file.") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
