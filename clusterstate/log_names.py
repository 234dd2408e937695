"""What a file of a session's log folder is, told from its name. The names are Ray's (2.53 to 2.60); pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clusterstate.model import Actor

DRIVER, WORKER, SERVE, RAYLET, GCS, AUTOSCALER, RUNTIME_ENV, OTHER = (
    "driver", "worker", "serve", "raylet", "gcs", "autoscaler", "runtime-env", "other",
)  # fmt: skip
GROUPS = (DRIVER, WORKER, SERVE, RAYLET, GCS, AUTOSCALER, RUNTIME_ENV, OTHER)

STDOUT, STDERR, SYSTEM = "stdout", "stderr", "system"
"""What a program printed, what it printed as errors, and what Ray's own code in its process noted."""

ROTATED = re.compile(r"^(?P<base>.+?\.(?:log|out|err|txt))\.(?P<number>[0-9]{1,4})$")
SUBMITTED = re.compile(r"^job-driver-(?P<submission_id>.+)\.log$")
PRINTED = re.compile(r"^worker-(?P<worker_id>[0-9a-f]{56})-(?P<job_id>[0-9a-f]{8})-(?P<pid>[0-9]+)\.(?P<ending>out|err)$")
CORE = re.compile(r"^python-core-(?P<kind>worker|driver)-(?P<worker_id>[0-9a-f]{56})_(?P<pid>[0-9]+)\.log$")
RUNTIME_ENV_JOB = re.compile(r"^runtime_env_setup-(?P<job_id>[0-9a-f]{8})\.log$")
PREFIXES = (
    ("serve/", SERVE),
    ("raylet.", RAYLET),
    ("gcs_server.", GCS),
    ("monitor.", AUTOSCALER),
    ("runtime_env", RUNTIME_ENV),
)
NO_JOB = "ffffffff"
"""In the name of a worker that was started before it had a job."""


SERVE_NAMESPACE = "serve"
SERVE_REPLICA = "SERVE_REPLICA::"
NOT_IN_SERVE_NAMES = re.compile(r'[^\x20-\x7E]|[<>:"/\\|?*]')


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says."""

    base: str  # the name without the number of a rotated file
    rotation: int = 0  # 0: the one that is written
    group: str = OTHER
    stream: str = SYSTEM
    worker_id: str | None = None
    job_id: str | None = None
    submission_id: str | None = None
    pid: int | None = None


def named(name: str) -> Named:
    """What the file is that has this path beneath the log folder."""
    rotated = ROTATED.match(name)
    base, rotation = (rotated["base"], int(rotated["number"])) if rotated else (name, 0)
    stream = {"out": STDOUT, "err": STDERR}.get(base.rpartition(".")[2], SYSTEM)
    if found := SUBMITTED.match(base):
        return Named(base, rotation, DRIVER, STDOUT, submission_id=found["submission_id"])
    if found := PRINTED.match(base):
        job_id = None if found["job_id"] == NO_JOB else found["job_id"]
        return Named(base, rotation, WORKER, stream, found["worker_id"], job_id, pid=int(found["pid"]))
    if found := CORE.match(base):
        if found["kind"] == "worker":
            return Named(base, rotation, WORKER, SYSTEM, found["worker_id"], pid=int(found["pid"]))
        # A driver's worker id is its job's id, filled up.
        return Named(base, rotation, DRIVER, SYSTEM, found["worker_id"], found["worker_id"][:8], pid=int(found["pid"]))
    if found := RUNTIME_ENV_JOB.match(base):
        return Named(base, rotation, RUNTIME_ENV, SYSTEM, job_id=found["job_id"])
    group = next((group for prefix, group in PREFIXES if base.startswith(prefix)), OTHER)
    return Named(base, rotation, group, stream)


def serve_file(actor: Actor) -> str | None:
    """The file that an actor of Serve's writes its log to, beneath the log folder of its node; None of other actors."""
    if actor.ray_namespace != SERVE_NAMESPACE or not actor.name:
        return None
    if actor.name.startswith(SERVE_REPLICA):
        *names, replica = actor.name.removeprefix(SERVE_REPLICA).split("#")
        return f"serve/replica_{NOT_IN_SERVE_NAMES.sub('_', '_'.join(names))}_{replica}.log" if names else None
    if actor.class_name == "ServeController" and actor.pid:
        return f"serve/controller_{actor.pid}.log"
    if actor.class_name == "ProxyActor" and actor.ip:
        return f"serve/proxy_{actor.ip}.log"
    return None
