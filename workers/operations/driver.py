"""A Ray driver for clusters whose head node serves no job API: a process of its own, without our credentials, JSON over pipes.

What a cluster returns is unpickled there and nowhere else. After a submission the process may stay, to watch over what it
submitted as Ray's agent would; one does so for all, and which one is told by a lock. See `ray_driver`, which runs in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from workers.operations.running import Refusal, Surroundings, Unsure, surroundings

if TYPE_CHECKING:
    from workers.operations.ray_side import RaySide

ANSWER_WITHIN_S = 60.0
MAX_ANSWER_BYTES = 64 * 1024
PASSED_ON = frozenset({"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"})
KEPT_BACK = ("RAY_REDIS_",)
START = "import sys; sys.path.insert(0, sys.argv[1]); from workers.operations.ray_driver import main; main(sys.argv)"
"""`-m` would look in the working folder first, and leave that to the workers of the cluster."""


class DriverProblem(Exception):
    """Ray's own words on why it was not done."""


class DriverAnswer(msgspec.Struct):
    """What the driver's process says, in one line."""

    done: bool | None = None
    problem: str | None = None


def submit(body: Mapping[str, Any], found: RaySide) -> None:
    """Submits through a driver. Raises Refusal (nothing was sent), Unsure (no answer), DriverProblem."""
    _ask({"do": "submit", "body": body}, found)


def stop(submission_id: str, found: RaySide) -> bool:
    """Whether something ran under this id and was told to stop. Raises as `submit`."""
    return _ask({"do": "stop", "submission_id": submission_id}, found)


def watch_again(around: Surroundings) -> bool:
    """Starts a driver that watches over submissions, if the one that did so died. Whether it was missing."""
    if not is_watch_missing(around.watch_file):
        return False
    process = _start({"do": "watch"}, around)
    assert process.stdout is not None  # noqa: S101 - for the type checker
    process.stdout.close()
    return True


def is_watch_missing(watch_file: Path) -> bool:
    """Whether the file says that somebody watches, and nobody holds its lock."""
    try:
        with watch_file.open("rb") as file:
            if not file.read(1):
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def own_ray_version() -> str | None:
    """Of the Ray that a driver of ours would have. Read from its distribution: Ray is not imported."""
    try:
        return version("ray")
    except PackageNotFoundError:
        return None


def _ask(order: Mapping[str, Any], found: RaySide) -> bool:
    own = own_ray_version()
    if own is None or (found.ray_version is not None and found.ray_version != own):
        raise Refusal(
            f"The head node serves no job API: install ray[default] there. Without it Raydeck needs the cluster's Ray "
            f"({found.ray_version or 'unknown'}) itself; it has {own or 'none'}."
        )
    process = _start(order, surroundings())
    assert process.stdout is not None  # noqa: S101 - for the type checker
    try:
        answer = read_answer(process.stdout.fileno(), ANSWER_WITHIN_S)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        process.stdout.close()
    if answer.problem is not None:
        raise DriverProblem(answer.problem)
    return answer.done is True


def read_answer(descriptor: int, within_s: float) -> DriverAnswer:
    """One line of JSON from a pipe. Raises Unsure when none comes in time, or it is none or too long."""
    give_up, text = time.monotonic() + within_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not text.endswith(b"\n"):
            if not selector.select(max(0.0, give_up - time.monotonic())):
                raise Unsure(f"Raydeck's Ray driver gave no answer within {within_s:.0f} s.")
            piece = os.read(descriptor, MAX_ANSWER_BYTES)
            text += piece
            if not piece or len(text) > MAX_ANSWER_BYTES:
                raise Unsure("Raydeck's Ray driver ended without an answer.")
    try:
        return msgspec.json.decode(text, type=DriverAnswer)
    except msgspec.MsgspecError:
        raise Unsure("Raydeck's Ray driver gave an answer that cannot be read.") from None


def bare_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What Ray needs to connect, and nothing of ours: no settings, keys, Redis or state folder."""
    return {
        name: value for name, value in environ.items() if (name in PASSED_ON or name.startswith("RAY_")) and not name.startswith(KEPT_BACK)
    }


def _start(order: Mapping[str, Any], around: Surroundings) -> subprocess.Popen[bytes]:
    """The driver's process, in our session of processes: it ends with the role. Its errors go to the role's log."""
    root = str(Path(__file__).resolve().parents[2])
    lock = os.open(around.watch_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", START, root, str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=bare_environ(around.environ),
            pass_fds=(lock,),
        )
    finally:
        os.close(lock)
    assert process.stdin is not None  # noqa: S101 - for the type checker
    try:
        process.stdin.write(json.dumps({"address": around.address, **order}).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died: no answer will come
    return process
