"""Traces of GPUs and of JAX. The real dynolog and a GPU are not there: a stand-in `dyno` and a stand-in `jax` say what those say."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterstate import paths
from clusterstate.profile_answers import (
    BUSY,
    ENDED,
    FAILED,
    IDLE,
    NO_PROGRAM,
    NOT_LISTED,
    OTHER_USER,
    UNSUPPORTED,
    Abilities,
    ProfileProgress,
    WhyNot,
    read,
)
from tests.workers.asking_here import Asking, asking_of, goes_on, leaves_nothing, wait_until
from tests.workers.stub_ray import NODE, SLEEP, StubRay, began, stub_ray
from workers.probes import profiling
from workers.probes.running import CannotAnswer
from workers.sources import gpu_tracing, jax_tracing, private_folders, profile_notes, trace_programs
from workers.sources.private_folders import Unfit
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.profile_targets import PROC, Target

ENABLED = {"KINETO_USE_DAEMON": "1"}
TRACE = {"schemaVersion": 1, "traceEvents": [{"ph": "X", "name": "ncclDevKernel<script>", "ts": 1, "dur": 2}]}
STAND_IN_DYNO = """#!{python} -I
import json, os, sys
words = sys.argv[1:]
with open({seen!r}, "w") as file:
    json.dump(words, file)
told = dict(zip(words, words[1:]))
pid, path = told["--pids"], told["--log-file"].replace(".json", "_" + told["--pids"] + ".json")
{does}
"""
MATCHES = 'print("response = " + json.dumps(dict(processesMatched=[int(pid)], activityProfilersTriggered=[int(pid)])))\n'
WRITES = (
    MATCHES
    + """
if os.fork() == 0:  # as the traced process does, later and in pieces
    import time
    time.sleep(0.5)
    with open(path, "w") as file:
        file.write({whole!r}[:20]); file.flush(); time.sleep(0.6); file.write({whole!r}[20:])
""".format(whole=json.dumps(TRACE))
)
STAND_IN_JAX = """
import gzip, os, sys
port, ms, folder = sys.argv[1], int(sys.argv[2]), sys.argv[4]
assert sys.argv[3] == "--log_dir" and sys.argv[5:] == ["--no_perfetto_link"], sys.argv
assert os.environ["JAX_PLATFORMS"] == "cpu"
{does}
"""
COLLECTS = f"""
inner = folder + "/plugins/profile/2026_11_23"
os.makedirs(inner)
with gzip.open(inner + "/remote.trace.json.gz", "wb") as file:
    file.write({json.dumps(TRACE).encode()!r})
"""
LISTENS = """
import mmap, socket, sys, threading, time
jax = open(sys.argv[1], "r+b")
loaded = mmap.mmap(jax.fileno(), 0)
listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
def answer():
    while True:
        connection, _ = listening.accept()
        connection.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        connection.close()
threading.Thread(target=answer, daemon=True).start()
def inner():
    while True:
        sum(range(2000))
inner()
"""


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[StubRay]:
    with stub_ray(tmp_path) as running:
        yield running


@pytest.fixture
def asking(ray: StubRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gpu_tracing, "SETTLED_S", 1.0)
    return asking_of(ray, tmp_path, monkeypatch)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Something that listens where dynolog's daemon does."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(gpu_tracing, "PORTS", (1, port))
        yield port


def stand_in_dyno(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    """A program that says and does what dyno, its daemon and a PyTorch process would; keeps its arguments in a file."""
    program, seen = folder / "dyno", folder / "dyno-arguments.json"
    program.write_text(STAND_IN_DYNO.format(python=os.path.realpath(sys.executable), seen=str(seen), does=does))
    program.chmod(0o755)
    monkeypatch.setattr(gpu_tracing, "program_called", lambda name: program)
    return seen


def stand_in_jax(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """A Python of its own, in which a module that calls itself jax collects."""
    venv.create(folder / "python", symlinks=True)
    [packages] = (folder / "python").glob("lib/python3*/site-packages")
    (packages / "jax").mkdir()
    (packages / "jax" / "__init__.py").touch()
    (packages / "jax" / "collect_profile.py").write_text(STAND_IN_JAX.format(does=does))
    monkeypatch.setattr(jax_tracing, "OUR_PYTHON", str(folder / "python/bin/python"))
    monkeypatch.setattr(jax_tracing, "can_collect", lambda: True)


def start_jax(asking: Asking, folder: Path) -> int:
    """A process that has loaded what looks like JAX, and greets as a gRPC server does."""
    (folder / "jaxlib").mkdir()
    (folder / "jaxlib" / "_jax.so").write_bytes(b"\0" * 4096)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    code = LISTENS.replace("sys.argv[1]", repr(str(folder / "jaxlib/_jax.so"))).replace("sys.argv[2]", repr(port))
    return asking.start(code)


def trace_gpu(asking: Asking, pid: int, seconds: int = 1) -> tuple[ProfileProgress, bytes]:
    return told(asking, profiling.record_gpu(NODE, pid, began(pid), seconds))


def trace_jax(asking: Asking, pid: int, seconds: int = 1) -> tuple[ProfileProgress, bytes]:
    return told(asking, profiling.record_jax(NODE, pid, began(pid), seconds))


def told(asking: Asking, answer: dict[str, Any]) -> tuple[ProfileProgress, bytes]:
    progress: ProfileProgress = read(answer, ProfileProgress)
    packed = b"".join(asking.parts)
    assert progress.packed_bytes == len(packed)
    return progress, packed


def why(progress: ProfileProgress) -> WhyNot:
    assert progress.why_not is not None
    assert progress.packed_bytes == 0
    return progress.why_not


def nothing_left(asking: Asking, folder: Path) -> bool:
    return leaves_nothing(asking) and list(folder.glob(private_folders.PREFIX + "*")) == []


def test_a_gpu_trace_is_what_the_process_wrote_packed(asking: Asking, daemon: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = stand_in_dyno(tmp_path, monkeypatch, WRITES)
    pid = asking.start(environ=ENABLED)

    progress, packed = trace_gpu(asking, pid, 1)

    assert (progress.why_not, progress.ended, progress.samples, progress.profiler) == (None, "", 0, "dynolog")
    assert json.loads(gzip.decompress(packed)) == TRACE
    assert progress.trace_bytes == len(json.dumps(TRACE))
    words = json.loads(seen.read_text())
    assert words[:-1] == [
        "--port", str(daemon), "gputrace", "--pids", str(pid), "--process-limit", "1", "--duration-ms", "1000", "--log-file",
    ]  # fmt: skip
    assert any(words.endswith(" of 1 s") for words in asking.words)
    assert nothing_left(asking, tmp_path)
    assert goes_on(pid)


@pytest.mark.parametrize(
    ("does", "reason", "fix"),
    [
        ('print("No processes were matched, please check --job-id or --pids flags")', UNSUPPORTED, "KINETO_USE_DAEMON"),
        ('sys.exit("Couldn\'t connect to the server...")', NO_PROGRAM, "dynolog --enable_ipc_monitor --port 65406"),
        ('print("response = " + json.dumps(dict(processesMatched=[1], activityProfilersBusy=1)))', BUSY, "Wait"),
        (MATCHES, FAILED, "KINETO_USE_DAEMON"),
        (MATCHES + "os.symlink('/etc/hostname', path)", FAILED, ""),
        (MATCHES + "open(path, 'w').truncate(65 << 20)", FAILED, "fewer seconds"),
        (MATCHES + "open(path, 'w').write('{')", FAILED, ""),
        (MATCHES + "open(path, 'w').write('{}'); os.link(path, path + '.other')", FAILED, "fewer seconds"),
    ],
)
def test_where_no_gpu_trace_comes_its_cause_is_said(
    asking: Asking, daemon: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str, fix: str
) -> None:
    stand_in_dyno(tmp_path, monkeypatch, does)
    monkeypatch.setattr(gpu_tracing, "WRITTEN_WITHIN_S", 2.0)
    progress, _ = trace_gpu(asking, asking.start(), 1)
    assert why(progress).reason == reason
    assert fix in why(progress).fix
    assert nothing_left(asking, tmp_path)


def test_no_other_process_is_traced(asking: Asking, daemon: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = stand_in_dyno(tmp_path, monkeypatch, WRITES)
    stand_in_jax(tmp_path, monkeypatch, COLLECTS)
    assert why(trace_gpu(asking, os.getpid())[0]).reason == NOT_LISTED
    assert why(trace_jax(asking, os.getpid())[0]).reason == NOT_LISTED
    pid = asking.start()
    assert why(read(profiling.record_gpu(NODE, pid, began(pid) - 60_000, 1), ProfileProgress)).reason == ENDED
    assert not seen.exists()


@pytest.mark.parametrize("seconds", [0, 61, -1])
def test_a_trace_lasts_a_minute_at_most(asking: Asking, seconds: int) -> None:
    for record in (profiling.record_gpu, profiling.record_jax):
        with pytest.raises(CannotAnswer, match="1 to 60 s"):
            record(NODE, 4711, 1, seconds)


def test_one_who_ends_while_traced_leaves_nothing(asking: Asking, daemon: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_dyno(tmp_path, monkeypatch, MATCHES)
    pid = asking.start(environ=ENABLED)
    asking.on_report = lambda: asking.ray.end(pid) if len(asking.words) == 2 else None
    progress, packed = trace_gpu(asking, pid, 30)
    assert (progress.ended, progress.why_not, packed) == ("PROCESS_ENDED", None, b"")
    assert nothing_left(asking, tmp_path)


def test_a_killed_worker_leaves_no_trace_and_no_collector(asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = tmp_path / "collector"
    stand_in_jax(tmp_path, monkeypatch, f"open({str(collector)!r}, 'w').write(str(os.getpid()))\nimport time\ntime.sleep(100)")
    pid = start_jax(asking, tmp_path)
    horse = os.fork()
    if horse == 0:
        os.setpgrp()
        trace_jax(asking, pid, 30)
        os._exit(0)
    wait_until(lambda: collector.exists() and collector.read_text() != "")
    os.killpg(horse, signal.SIGKILL)
    os.waitpid(horse, 0)
    profile_notes.tidy(asking.state_dir)
    wait_until(lambda: not (PROC / collector.read_text()).exists())
    assert os.listdir(paths.profiling_dir(asking.state_dir)) == []
    assert nothing_left(asking, tmp_path)
    assert goes_on(pid)


def test_a_jax_trace_is_what_jax_itself_collects(asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_jax(tmp_path, monkeypatch, COLLECTS)
    pid = start_jax(asking, tmp_path)

    progress, packed = trace_jax(asking, pid)

    assert (progress.why_not, progress.ended) == (None, "")
    assert json.loads(gzip.decompress(packed)) == TRACE
    assert progress.trace_bytes == len(json.dumps(TRACE))
    assert nothing_left(asking, tmp_path)
    assert goes_on(pid)


@pytest.mark.parametrize(
    ("does", "reason", "fix"),
    [
        ("raise ImportError('This script requires `xprof` to be installed.')", NO_PROGRAM, "pip install jax xprof"),
        ("sys.exit('No trace event was collected')", UNSUPPORTED, "jax.profiler.start_server"),
        ("import time; time.sleep(ms / 1000); sys.exit('No trace event was collected')", IDLE, "while it computes"),
        ("import time; time.sleep(99)", FAILED, ""),
        ("pass", FAILED, ""),
        ("open(folder + '/x.trace.json.gz', 'w').write('{}')", FAILED, ""),
        ("open(folder + '/x.trace.json.gz', 'wb').write(gzip.compress(b' ' * (65 << 20)))", FAILED, "fewer seconds"),
        ("os.symlink('/etc/hostname', folder + '/x.trace.json.gz')", FAILED, ""),
    ],
)
def test_where_no_jax_trace_comes_its_cause_is_said(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str, fix: str
) -> None:
    stand_in_jax(tmp_path, monkeypatch, does)
    monkeypatch.setattr(jax_tracing, "WRITTEN_WITHIN_S", 2.0)
    progress, _ = trace_jax(asking, start_jax(asking, tmp_path))
    assert why(progress).reason == reason
    assert fix in why(progress).fix
    assert nothing_left(asking, tmp_path)


def test_a_process_without_jax_is_told_what_it_takes(asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax_tracing, "can_collect", lambda: True)
    progress, _ = trace_jax(asking, asking.start(SLEEP))
    assert why(progress).reason == UNSUPPORTED
    assert "start_server" in why(progress).fix


def test_what_is_in_the_way_is_known_before(asking: Asking, daemon: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_dyno(tmp_path, monkeypatch, WRITES)
    monkeypatch.setattr(jax_tracing, "can_collect", lambda: True)

    def check(pid: int) -> Abilities:
        found: Abilities = read(profiling.check_profiling(NODE, pid, began(pid)), Abilities)
        return found

    without, ready = check(asking.start()), check(asking.start(environ=ENABLED))

    assert without.gpu is not None
    assert (without.gpu.reason, "runtime_env" in without.gpu.fix) == (UNSUPPORTED, True)
    assert without.jax is not None
    assert ready.gpu is None
    assert check(start_jax(asking, tmp_path)).jax is None


GONE, OTHERS = TargetFacts(is_alive=False), TargetFacts(user=8, user_name="ray")
HERE = Target(os.getpid(), 0, 0, 7, 7)


@pytest.mark.parametrize(
    ("parts", "target", "facts", "reason", "fix"),
    [
        (gpu_tracing.Parts(None, None), None, None, NO_PROGRAM, "Install dynolog"),
        (gpu_tracing.Parts(Path("/dyno"), None), None, None, NO_PROGRAM, "dynolog --enable_ipc_monitor"),
        (gpu_tracing.Parts(Path("/dyno"), 1, False), HERE, TargetFacts(user=7), UNSUPPORTED, "'KINETO_USE_DAEMON': '1'"),
        (gpu_tracing.Parts(Path("/dyno"), 1), HERE, GONE, ENDED, ""),
        (gpu_tracing.Parts(Path("/dyno"), 1), Target(os.getpid(), 0, 0, 8, 8), OTHERS, OTHER_USER, "as user ray"),
        (jax_tracing.Parts(False), None, None, NO_PROGRAM, "pip install jax"),
        (jax_tracing.Parts(True, False), HERE, TargetFacts(user=7), UNSUPPORTED, "start_server"),
        (jax_tracing.Parts(True, True, False), HERE, TargetFacts(user=7), UNSUPPORTED, "start_server"),
    ],
)
def test_what_is_in_the_way_of_a_trace(
    parts: gpu_tracing.Parts | jax_tracing.Parts, target: Target | None, facts: TargetFacts | None, reason: str, fix: str
) -> None:
    node = NodeFacts(user=7)
    found = (
        gpu_tracing.obstacle(parts, target, node, facts)
        if isinstance(parts, gpu_tracing.Parts)
        else jax_tracing.obstacle(parts, target, node, facts)
    )
    assert found is not None
    assert found.reason == reason
    assert fix in found.fix


def test_a_process_of_another_machines_network_or_port_is_not_reached(tmp_path: Path) -> None:
    process = tmp_path / "7"
    for folder in ("ns", "fd", "net"):
        (process / folder).mkdir(parents=True)
    (tmp_path / "self" / "ns").mkdir(parents=True)
    for one in (process, tmp_path / "self"):
        (one / "ns" / "net").symlink_to("net:[1]")
    for number, inode in enumerate((11, 12, 13)):
        (process / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    line = "  0: {}:{:04X} 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 {} 1 0 100\n"
    rows = [("0100007F", 9999, "0A", 11), ("0A00000A", 9998, "0A", 12), ("0100007F", 9997, "01", 13), ("0100007F", 9996, "0A", 99)]
    (process / "net" / "tcp").write_text("head\n" + "".join(line.format(*row) for row in rows) + "torn\n")
    assert jax_tracing.ports_of(7, tmp_path) == [9999]
    (process / "ns" / "net").unlink()
    (process / "ns" / "net").symlink_to("net:[2]")
    assert jax_tracing.ports_of(7, tmp_path) == []


def test_what_lies_in_a_folder_is_read_only_if_it_is_a_file_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text("{}")
    with private_folders.private_folder(Target(1, 0, 0, os.geteuid(), os.getegid())) as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        (folder.path / "linked").symlink_to(outside)
        (folder.path / "link.json").symlink_to(outside / "secret.json")
        os.mkfifo(folder.path / "pipe.json")
        (folder.path / "own.json").write_text("[]")
        assert [found.name for found in folder.files(".json")] == ["./own.json"]
        assert folder.read("./own.json", 10) == b"[]"
        for name in ("linked/secret.json", "link.json", "pipe.json", "missing.json"):
            with pytest.raises(Unfit):
                folder.read(name, 10)
        folder.path.rename(tmp_path / "moved")
        folder.path.symlink_to(outside)
        assert folder.read("./own.json", 10) == b"[]"
    assert (outside / "secret.json").exists()


def test_a_program_is_not_run_by_a_shell_nor_with_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYDECK_REDIS_URL", "redis://:secret@x")
    words = [sys.executable, "-I", "-c", "import os, sys; print(sys.argv[1], dict(os.environ))", "$HOME;id"]
    with trace_programs.TraceProgram(words, Target(1, 0, 0, os.geteuid(), os.getegid()), tmp_path) as program:
        give_up = time.monotonic() + 10
        while program.code is None and time.monotonic() < give_up:
            time.sleep(0.02)
        assert program.said().startswith("$HOME;id ")
        assert "secret" not in program.said()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_root_traces_with_no_more_than_the_rights_of_the_process() -> None:
    target = Target(os.getpid(), 0, 0, 65534, 65534)
    with private_folders.private_folder(target) as folder:
        assert (folder.path.stat().st_uid, folder.path.stat().st_mode & 0o777) == (65534, 0o700)
        words = ["/bin/sh", "-c", f"cd {folder.path} && id -u; id -G; echo '[]' > own.json"]
        with trace_programs.TraceProgram(words, target, folder.path) as program:
            wait_until(lambda: program.code is not None)
            assert program.said().split() == ["65534", "65534"]
        assert folder.read("own.json", 10) == b"[]\n"
        (folder.path / "ours.json").write_text("{}")
        with pytest.raises(Unfit, match="itself wrote"):
            folder.read("ours.json", 10)
    assert not folder.path.exists()


def test_progress_without_a_trace_reads_as_before() -> None:
    assert read(msgspec.to_builtins(ProfileProgress(samples=3)), ProfileProgress).trace_bytes == 0
