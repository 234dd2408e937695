"""`raydeck env`: the environment to start Ray with, so that it pushes its task events."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from clusterstate import ingest, paths
from clusterstate.settings import EVERYWHERE, BadSetting, host_and_port, is_cluster_name
from webapp.commands.node_keys import write_new
from webapp.commands.state import WrongConfiguration, settings_of, state_dir_option

DEFAULT_LISTEN = "127.0.0.1:8271"

PUSH = {
    "RAY_enable_core_worker_ray_event_to_aggregator": "1",
    "RAY_task_events_send_batch_size": "100000",
    "RAY_task_events_max_num_status_events_buffer_on_worker": "1000000",
}
"""What both ways need. Ray's own limits of 10,000 and 100,000 events lose some above 3,000 tasks a second of one process."""


@click.command("env")
@click.option("--cluster", "--cluster-name", "cluster", default=None, help="Its name in URLs. Else that of the settings, else default.")
@click.option("--in-place", is_flag=True, help="Protobuf, for Raydeck in the dashboard's place (Ray 2.60 and newer): exact at any rate.")
@click.option("--cluster-listen", default=None, metavar="HOST:PORT", help=f"Where Raydeck listens to the cluster. Else {DEFAULT_LISTEN}.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object, for container definitions.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="A new file (0600) to write it to. Else it is printed.")
@state_dir_option
def env(cluster: str | None, in_place: bool, cluster_listen: str | None, as_json: bool, out: Path | None, state_dir: Path | None) -> None:
    """Print what to export before `ray start`, on every node, so that Ray pushes its task events to Raydeck.

    Without it tasks are asked of the GCS, which holds 100,000 attempts. The agents that push are part of ray[default].

    \b
        eval "$(raydeck env)"
        ray start --head
        raydeck up --cluster-listen 127.0.0.1:8271
    """
    settings = settings_of(state_dir)
    name = cluster or settings.cluster_name or "default"
    if not is_cluster_name(name):
        raise click.UsageError(f"{name[:64]!r} is not the name of a cluster: 1 to 63 letters, digits, '-', '_' or '.'.")
    listen = cluster_listen or settings.cluster_listen or DEFAULT_LISTEN
    found = host_and_port(listen)
    if found is None or found[1] == 0:
        raise click.UsageError(f"{listen[:200]!r} is not HOST:PORT with the port that agents will post to, such as {DEFAULT_LISTEN}.")
    if found[0] in EVERYWHERE and not in_place:
        where = f"name the head's address, as in --cluster-listen 10.0.0.5:{found[1]}"
        raise click.UsageError(f"{listen} says where to listen, not where other nodes find it: {where}.")
    variables = dict(PUSH)
    if in_place:
        variables["RAY_enable_task_events_to_dashboard_head"] = "1"
    else:
        secret = ingest.secret_of(_made(settings.state_dir), name)
        variables["RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR"] = ingest.posting_url(listen, name, secret)
    then = (
        f"raydeck up --cluster-listen {listen}{' --in-place' if in_place else ''}{'' if name == 'default' else f' --cluster-name {name}'}"
    )
    text = json.dumps(variables, indent=2) + "\n" if as_json else _exports(variables, then)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_new(out, text)
        click.echo(f"Wrote {out}. Take it to every node and read it in there before Ray starts: source {out}")
        click.echo(f"Then: {then}")


def _made(state_dir: Path) -> Path:
    """The state folder, as `raydeck up` wants it: this may be the first command of all."""
    try:
        return paths.make_state_dir(state_dir)
    except BadSetting as error:
        raise WrongConfiguration(str(error)) from error


def _exports(variables: dict[str, str], then: str) -> str:
    lines = [f"# To be exported before `ray start`, on every node. Then: {then}"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
    return "\n".join(lines) + "\n"


commands: list[click.Command] = [env]
