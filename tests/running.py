"""Runs the real `raydeck` command as a person would, and reads its ready file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAYDECK = Path(sys.executable).parent / "raydeck"
READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 20.0


@dataclass
class Running:
    """A started `raydeck up`. `ready` is its ready file's content."""

    process: subprocess.Popen[bytes]
    folder: Path
    ready: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.ready["url"]).rstrip("/")

    @property
    def cluster_path(self) -> str:
        """Below the path prefix, as `get` takes it."""
        return f"/c/{self.ready['cluster']}"

    @property
    def cluster_url(self) -> str:
        return self.url + self.cluster_path

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body, as the ready file's admin token may see them."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.ready['admin_token']}", **headers})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def rows(self, table: str, query: str = "") -> dict[str, Any]:
        """A table's JSON answer."""
        status, body = self.get(f"/c/{self.ready['cluster']}/{table}.json{query}")
        assert status == 200, (status, body[:500])
        answer: dict[str, Any] = json.loads(body)
        return answer

    def row(self, table: str, row_id: str) -> dict[str, Any] | None:
        """One row of a table, by its id."""
        key = {"actors": "actor_id", "jobs": "job_id", "nodes": "node_id", "workers": "worker_id"}.get(table, "placement_group_id")
        return next(iter(self.rows(table, f"?{key}={row_id}")["rows"]), None)

    def wait_until(self, holds: Callable[[], bool], within_s: float = 60.0) -> None:
        """Asks again and again until something holds."""
        give_up = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < give_up, f"it does not hold after {within_s} s\n{self.output()[-2000:]}"
            time.sleep(0.3)

    def wait_for_rows(self, table: str, query: str = "", at_least: int = 1, within_s: float = 60.0) -> list[dict[str, Any]]:
        """Rows of a table once there are enough."""
        give_up = time.monotonic() + within_s
        while True:
            rows: list[dict[str, Any]] = self.rows(table, query)["rows"]
            if len(rows) >= at_least:
                return rows
            if time.monotonic() > give_up:
                raise AssertionError(f"{table}{query} has {len(rows)} rows after {within_s} s, not {at_least}")
            time.sleep(0.3)


@contextlib.contextmanager
def raydeck_up(
    *options: str, environ: dict[str, str] | None = None, python: Path | None = None, folder: Path | None = None
) -> Iterator[Running]:
    """`raydeck up` with a port and state directory of its own, until the block ends.

    `python` is of another environment, with another Ray. A `folder` that is given is kept, for a start on its data again.
    """
    given, folder = folder, folder or Path(tempfile.mkdtemp(prefix="rdup"))
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)  # of one that was killed
    program = [str(RAYDECK)] if python is None else [str(python), "-m", "webapp.cli"]
    command = [*program, "up", "--port", "0", "--ready-file", str(ready), "--state-dir", str(folder / "state"), *options]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environ or {})})
    try:
        yield Running(process, folder, _wait_for(ready, process, folder / "output"))
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        if given is None:
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for(ready: Path, process: subprocess.Popen[bytes], output: Path) -> dict[str, Any]:
    give_up = time.monotonic() + READY_WITHIN_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise AssertionError(f"raydeck up did not become ready:\n{output.read_text(errors='replace')[-4000:]}")
        time.sleep(0.1)
    content: dict[str, Any] = json.loads(ready.read_text("utf-8"))
    return content
