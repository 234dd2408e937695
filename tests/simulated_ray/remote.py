"""A simulated cluster in a process of its own, built and broken from here as if it were in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from tests.simulated_ray import control

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
CALL_LIMIT_S = 30.0


class RemoteRay:
    """`python -m tests.simulated_ray` with these options, from construction until `close`; it ends with this process too.

    Options are the command's (`nodes=300`, `dead_actors=100_000`, `changes=10`). Every builder and fault of SimulatedRay can be called:
    `ray.add_actor(class_name="Tokenizer")`.
    """

    def __init__(self, *, token: str | None = None, **options: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rdsim")
        ready = Path(self._folder.name) / "ready.json"
        command = [sys.executable, "-m", "tests.simulated_ray", "--with-parent", "--ready-file", str(ready)]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        if token is not None:
            token_file = Path(self._folder.name) / "token"
            token_file.touch(0o600)
            token_file.write_text(token)
            command += ["--token-file", str(token_file)]
        self._process = subprocess.Popen(command, cwd=ROOT)
        self.pid = self._process.pid
        self.address: str = self._wait_for(ready)["address"]
        self._channel = grpc.insecure_channel(self.address, [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200)])
        self._call: Callable[..., bytes] = self._channel.unary_unary(f"/{control.SERVICE}/{control.METHOD}")

    def __enter__(self) -> RemoteRay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in control.CALLABLE:
            raise AttributeError(name)
        return lambda *positional, **named: self.call(name, *positional, **named)

    def call(self, name: str, /, *positional: Any, **named: Any) -> Any:
        """Call a method of the SimulatedRay over there. ValueError says what it raised."""
        if name in control.LATER:
            starts = self._starts()
            self._ask(name, positional, named)
            while self._starts() in (starts, None):
                time.sleep(0.02)
            return None
        return self._ask(name, positional, named)

    def _starts(self) -> int | None:
        """How often the server has started; None while it is away."""
        try:
            return int(self._ask("figures", (), {})["server"]["starts"])
        except grpc.RpcError:
            return None

    def _ask(self, name: str, positional: Any, named: Any) -> Any:
        request = control.encode([name, positional, named])
        answer = control.decode(self._call(request, timeout=CALL_LIMIT_S, wait_for_ready=True))
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    def signal(self, number: int) -> None:
        """Send a signal to the process: SIGSTOP makes a GCS that hangs, SIGKILL one that dies."""
        os.kill(self.pid, number)

    def close(self) -> None:
        self._channel.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _wait_for(self, ready: Path) -> dict[str, Any]:
        deadline = time.monotonic() + START_LIMIT_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"the simulated cluster did not start (exit code {self._process.wait()})")
            time.sleep(0.02)
        content: dict[str, Any] = json.loads(ready.read_text())
        return content
