"""Starts a Ray driver in a process of its own and tells it what to do (driver_program.py)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("driver_program.py")


class ToldDriver:
    """A connected driver. Each of the program's commands is a call: `driver.ask("actor", "name")`."""

    def __init__(self, environ: Mapping[str, str], python: str | Path = sys.executable, program: Path = PROGRAM) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [str(python), str(program)],
            env={**outside, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def ask(self, command: str, *arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """The driver ends as a program does that has done its work."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def close(self) -> None:
        """It is ended, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, f"the driver ended: {self.process.poll()}"
            if line.startswith("{"):  # Ray may print a line of its own
                answer: dict[str, Any] = json.loads(line)
                return answer


@contextlib.contextmanager
def told_driver(environ: Mapping[str, str], python: str | Path = sys.executable, program: Path = PROGRAM) -> Iterator[ToldDriver]:
    driver = ToldDriver(environ, python, program)
    try:
        yield driver
    finally:
        driver.close()
