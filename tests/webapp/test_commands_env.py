"""`raydeck env`: what is exported before Ray starts."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clusterstate import ingest, paths
from webapp.commands.ray_environment import env

ADDRESS = "RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR"
HEAD = "RAY_enable_task_events_to_dashboard_head"


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYDECK_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(env, arguments)


def test_what_is_printed_is_what_a_shell_exports(state_dir: Path) -> None:
    said = run("--cluster", "prod", "--cluster-listen", "10.0.0.5:9000").stdout
    shown = subprocess.run(["/bin/sh", "-c", said + "\nenv"], capture_output=True, text=True, check=True, env={}).stdout.splitlines()

    secret = ingest.secret_of(state_dir, "prod")
    assert f"{ADDRESS}=http://raydeck:{secret}@10.0.0.5:9000/ingest/prod" in shown
    assert "RAY_enable_core_worker_ray_event_to_aggregator=1" in shown
    assert "raydeck up --cluster-listen 10.0.0.5:9000 --cluster-name prod" in said


def test_the_state_folder_that_it_makes_is_one_that_raydeck_up_takes(state_dir: Path) -> None:
    assert run().exit_code == 0
    assert paths.make_state_dir(state_dir) == state_dir
    state_dir.chmod(0o755)
    refused = run()
    assert (refused.exit_code, "chmod 700" in refused.stderr) == (78, True)


def test_in_place_no_secret_is_given_away() -> None:
    said = run("--in-place").stdout
    assert f"export {HEAD}=1" in said
    assert ADDRESS not in said
    assert "--in-place" in said


def test_as_json_and_as_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    variables = json.loads(run("--json").stdout)
    assert variables["RAY_task_events_send_batch_size"] == "100000"
    file = tmp_path / "ray.env"
    assert "source" in run("--out", str(file)).stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = run("--out", str(file))
    assert again.exit_code == 1
    assert "Name a new file" in again.stderr


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1:0", "127.0.0.1:99999", "::1:80", ":80"])
def test_an_address_that_agents_cannot_post_to_is_refused(listen: str) -> None:
    refused = run("--cluster-listen", listen)
    assert refused.exit_code == 2
    assert "HOST:PORT" in refused.stderr


@pytest.mark.parametrize("listen", ["0.0.0.0:8271", "[::]:8271"])
def test_an_address_where_other_nodes_would_post_to_themselves_is_refused_but_in_place(listen: str) -> None:
    refused = run("--cluster-listen", listen)
    assert refused.exit_code == 2
    assert "name the head's address" in refused.stderr
    assert run("--in-place", "--cluster-listen", listen).exit_code == 0


def test_a_name_that_is_no_clusters_is_refused() -> None:
    assert run("--cluster", "../etc").exit_code == 2
