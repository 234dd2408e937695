"""A whole Raydeck before a simulated cluster, in folders of its own, for as long as a measurement takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_LIMIT_S = 90.0
STOP_LIMIT_S = 20.0


@contextmanager
def raydeck_up(address: str, *options: str) -> Iterator[dict[str, Any]]:
    """`raydeck up` on that GCS, on loopback. Gives what its ready file says, with its `state_dir`; its output is shown only if it fails."""
    with tempfile.TemporaryDirectory(prefix="rdb") as name:
        folder = Path(name)
        ready, output = folder / "ready.json", folder / "output"
        command = [sys.executable, "-m", "webapp.cli", "up", "--address", address, "--host", "127.0.0.1", "--port", "0"]
        command += ["--state-dir", str(folder / "state"), "--ready-file", str(ready), "--cluster-name", "bench", *options]
        with output.open("wb") as file:
            process = subprocess.Popen(command, env=_environment(folder), stdout=file, stderr=subprocess.STDOUT)
        try:
            yield {**_wait_for(ready, process, output), "state_dir": str(folder / "state")}
        finally:
            _stop(process)


def _environment(folder: Path) -> dict[str, str]:
    """Ours without settings of Ray and Raydeck, and with a home of its own: no token file of the user is found."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYDECK_"))}
    return {**clean, "HOME": str(folder), "RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1"}


def _wait_for(ready: Path, process: subprocess.Popen[bytes], output: Path) -> dict[str, Any]:
    deadline = time.monotonic() + READY_LIMIT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.stderr.write(output.read_text(errors="replace")[-8000:])
            raise SystemExit(f"raydeck up was not ready within {READY_LIMIT_S:.0f} s (exit code {process.poll()}).")
        time.sleep(0.05)
    content: dict[str, Any] = json.loads(ready.read_text())
    return content


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
