"""`make run`: a real cluster in the browser with one command, and nothing left behind by Ctrl-C."""

from __future__ import annotations

import json
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

import run as make_run
from tests.deploy.running import is_running, running
from tests.running import Running


@pytest.mark.ray
def test_make_run_shows_a_real_cluster_and_ctrl_c_stops_all_of_it(short_dir: Path) -> None:
    options = f"--port 0 --state-dir {short_dir}/state"
    environment = {"RAY_TMPDIR": str(short_dir)}  # no cluster runs "here", whatever else this machine does
    with running(["make", "run", f"ARGS={options}"], short_dir, environment, within_s=150) as run:
        assert stat.S_IMODE(run.ready_file.stat().st_mode) == 0o600
        assert run.ready["cluster"] == "demo"
        assert {"redis", "collector", "node", "projector", "web"} <= set(run.ready["pids"])
        shown = Running(run.process, short_dir, run.ready)
        assert shown.get("/healthz")[0] == 200
        nodes = _wait_for_rows(shown, "nodes", 2)
        assert [node["state"] for node in nodes] == ["ALIVE", "ALIVE"]
        begun = time.monotonic()
        run.stop()
        assert time.monotonic() - begun < 15
    assert not run.ready_file.exists()
    assert [name for name, pid in run.ready["pids"].items() if is_running(pid)] == []
    assert run.ready["sign_in_url"].split("token=")[1] not in run.output.read_text(), "the file's link and the printed one differ"


def test_make_run_starts_no_demo_when_a_cluster_was_named(monkeypatch: pytest.MonkeyPatch, short_dir: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short_dir))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert make_run.demo_if_nothing_else(["--port", "0"]) == ["--demo"]
    assert make_run.demo_if_nothing_else(["--address=10.0.0.5:6379"]) == []
    assert make_run.demo_if_nothing_else(["--address", "10.0.0.5:6379"]) == []
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    assert make_run.demo_if_nothing_else([]) == []


def test_make_run_starts_no_demo_when_a_cluster_runs_here(monkeypatch: pytest.MonkeyPatch, short_dir: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short_dir))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (short_dir / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        (short_dir / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{gcs.getsockname()[1]}")
        assert make_run.demo_if_nothing_else([]) == []
    assert make_run.demo_if_nothing_else([]) == ["--demo"], "a note of a cluster that has gone"


def _wait_for_rows(shown: Running, table: str, count: int) -> list[dict[str, Any]]:
    """The rows of a table, as a script with the token of the ready file sees them, once there are as many."""
    give_up = time.monotonic() + 20
    while True:
        status, body = shown.get(f"/c/{shown.ready['cluster']}/{table}.json")
        rows: list[dict[str, Any]] = json.loads(body)["rows"] if status == 200 else []
        if len(rows) >= count or time.monotonic() > give_up:
            return rows
        time.sleep(0.2)
