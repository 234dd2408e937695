"""The demo cluster's folder and environment: everything of its own, nothing of the user's cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import site
import sys
from collections.abc import Mapping
from pathlib import Path

import workers
from clusterstate.paths import check_private_dir

MAX_FOLDER_BYTES = 35  # <folder>/ray/session_<26>_<7>/sockets/plasma_store.1 must fit into 107 bytes
LOG_BYTES = 4_000_000  # each of Ray's own log files, with one older copy


class BadFolder(Exception):
    """The folder cannot hold the demo; the message says why."""


def prepare_folder(folder: Path) -> Path:
    """The demo's folder, private and empty but for notes on earlier processes. Sweep those first."""
    if len(os.fsencode(folder)) > MAX_FOLDER_BYTES:
        raise BadFolder(f"The demo's folder {folder} must have at most {MAX_FOLDER_BYTES} characters: Ray's sockets lie below it.")
    for part in (folder.parent, folder):
        if part == folder or part.name.startswith("raydeck-"):  # /tmp itself is everybody's
            part.mkdir(mode=0o700, exist_ok=True)
            check_private_dir(part)
    for name in ("ray", "log", "tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("home", "log", "tmp"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return folder


def home_of(folder: Path) -> Path:
    """The home folder of all that runs for the demo, and of nothing else."""
    return folder / "home"


def demo_environment(folder: Path, token: bool, given: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the demo's processes: nothing of Ray or Raydeck is taken over from `given`."""
    environment = {name: value for name, value in given.items() if not name.startswith(("RAY_", "RAYDECK_"))}
    environment.update(joining_environment(folder, token))
    environment.update(
        HOME=str(home_of(folder)),
        TMPDIR=str(folder / "tmp"),  # what a killed workload leaves there goes with the folder
        PYTHONUSERBASE=site.getuserbase(),  # else a changed HOME would hide packages of a --user install
        PYTHONPATH=os.pathsep.join(filter(None, [str(_import_root()), given.get("PYTHONPATH", "")])),
        PATH=os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", os.defpath)]),
        RAY_USAGE_STATS_ENABLED="0",
        RAY_ROTATION_MAX_BYTES=str(LOG_BYTES),
        RAY_ROTATION_BACKUP_COUNT="1",
        # A worker process is 43 MB and 0.7 s of CPU to start: none in advance, and none ended that is soon used again.
        RAY_prestart_worker_first_driver="0",
        RAY_enable_worker_prestart="0",
        RAY_num_workers_soft_limit="1",
        RAY_idle_worker_killing_time_threshold_ms="6000",
        RAY_record_task_actor_creation_sites="1",
        RAY_JOB_START_TIMEOUT_SECONDS="31536000",  # the job that waits for ever is to stay PENDING
    )
    return environment


def joining_environment(folder: Path, token: bool) -> dict[str, str]:
    """What a driver elsewhere on this machine needs, beside RAY_ADDRESS, to join the demo's cluster."""
    joining = {
        # Keeps several raylets of one machine, and their drivers, on 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token" if token else "disabled",
        "RAY_TMPDIR": str(folder),
    }
    if token:
        joining["RAY_AUTH_TOKEN_PATH"] = str(folder / "auth_token")
    return joining


def write_token(folder: Path) -> None:
    """A new cluster token, for this run alone."""
    write_private(folder / "auth_token", secrets.token_hex(32))


def write_private(path: Path, text: str) -> None:
    """A 0600 file, whole or not at all, never through a link."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _import_root() -> Path:
    """The folder that `import workers` finds us in: Ray's worker processes must find the workload there too."""
    return Path(workers.__file__ or ".").resolve().parents[1]
