"""Running memray: it has a debugger make the process follow its own allocations, into a file of ours.

All of it runs as the user of the process. A debugger is never killed while it is at a process: what it has put into the program's
code would end that. It is interrupted, takes that out and leaves.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workers.processes import die_with_parent, read_stat, send
from workers.sources.profile_targets import PROC, Target
from workers.sources.py_spy import Ran

DEBUGGERS = ("gdb", "lldb")
DEBUGGER_WITHIN_S = 30.0
LEAVES_WITHIN_S = 5.0
LEFT_WITHIN_S = 3.0
"""For a debugger that a killed worker left behind: it has had its time."""
READ_WITHIN_S = 60.0
MOST_PRINTED_BYTES = 64 << 20
SPARE_BYTES = 8 << 20
MOST_STACKS = 100_000
MOST_WORDS = 8192
LOOK_EVERY_S = 0.2
TOO_LATE = -1000
"""In the place of an exit code: the debugger was sent away."""
MEMORY_BYTES = 4 << 30
PROGRAMS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
READER = Path(__file__).with_name("memray_reading.py")
PACKAGES = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Options:
    """What is followed."""

    native: bool = False
    leaks: bool = False
    python_allocators: bool = False


def is_installed() -> bool:
    """Whether our own Python has memray."""
    return importlib.util.find_spec("memray") is not None


def memray_version() -> str:
    try:
        return f"memray {version('memray')}"
    except PackageNotFoundError:
        return ""


def debugger() -> str | None:
    """The one that memray will use."""
    return next((found for name in DEBUGGERS if (found := shutil.which(name, path=PROGRAMS_PATH))), None)


def has_memray(pid: int, proc: Path = PROC) -> bool:
    """Whether the Python of a process has memray too, as its folders tell: nothing of it is run."""
    root = proc / str(pid) / "root"
    return any((root / folder.lstrip("/") / "memray" / "__init__.py").is_file() for folder in _package_folders(pid, proc))


def shares_temporary_files(pid: int, proc: Path = PROC) -> bool:
    """Whether we may write to a folder for temporary files that is the same one to the process."""
    try:
        ours = tempfile.gettempdir()
        return os.path.samestat(os.stat(ours), os.stat(proc / str(pid) / "root" / ours.lstrip("/")))
    except OSError:
        return False


def attaching(target: Target, file: Path, lasts_s: int, options: Options) -> subprocess.Popen[bytes]:
    """Has the process follow its allocations; it ends that by itself after `lasts_s`, whatever becomes of us."""
    words = ["attach", "--aggregate", "--duration", f"{lasts_s:d}", "-o", str(file)]
    words += ["--native"] if options.native else []
    words += ["--trace-python-allocators"] if options.python_allocators else []
    return _start([*words, f"{target.pid:d}"], target.user, target.group, file.parent)


def detach(pid: int, user: int, group: int) -> Ran:
    """Ends the following; the file is whole then."""
    return finish(_start(["detach", f"{pid:d}"], user, group, Path("/")), pid)


def finish(process: subprocess.Popen[bytes], pid: int) -> Ran:
    """Waits for a debugger to have left the process; one that waits too long for it is told to leave."""
    try:
        output, words = process.communicate(timeout=DEBUGGER_WITHIN_S)
    except subprocess.TimeoutExpired:
        send_debugger_away(pid, process.pid)
        process.terminate()
        try:
            output, words = process.communicate(timeout=LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, words = process.communicate()
        return Ran(TOO_LATE, output, (output + words)[-MOST_WORDS:].decode("utf-8", "replace"))
    return Ran(process.returncode, output, (output + words)[-MOST_WORDS:].decode("utf-8", "replace"))


def send_debugger_away(pid: int, session: int, within_s: float = LEAVES_WITHIN_S) -> bool:
    """Interrupts the debugger at a process that is of this session of ours, until it has left. Whether none of ours is there any more."""
    give_up = time.monotonic() + within_s
    while (tracer := tracer_of(pid)) and (stat := read_stat(tracer)) is not None and stat.sid == session:
        send(stat, signal.SIGINT)
        if time.monotonic() > give_up:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def tracer_of(pid: int, proc: Path = PROC) -> int:
    """The process that traces another one; 0: none."""
    found = next((line for line in _text(proc / str(pid) / "status").splitlines() if line.startswith("TracerPid:")), "")
    number = found.partition(":")[2].strip()
    return int(number) if number.isdigit() else 0


def read(file: Path, user: int, group: int, options: Options) -> Ran:
    """What it wrote, see memray_reading. The process may have written anything: it is read with no more than its rights."""

    parent = os.getpid()

    def limit() -> None:
        die_with_parent(parent)
        resource.setrlimit(resource.RLIMIT_CPU, (int(READ_WITHIN_S), int(READ_WITHIN_S) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_PRINTED_BYTES, MOST_PRINTED_BYTES))

    limits = [str(MOST_STACKS), str(MOST_PRINTED_BYTES - SPARE_BYTES)]
    which = ["leaks" if options.leaks else "peak", "native" if options.native else "python", *limits]
    with tempfile.TemporaryFile() as output:
        try:
            ran = subprocess.run(
                [sys.executable, "-I", "-c", READER.read_text("utf-8"), str(file), *which],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                env=_environment(Path("/")),
                cwd="/",
                timeout=READ_WITHIN_S,
                check=False,
                preexec_fn=limit,
                **as_user(user, group),
            )
        except subprocess.TimeoutExpired:
            return Ran(-1, b"", f"It was not read within {READ_WITHIN_S:.0f} s.")
        output.seek(0)
        return Ran(ran.returncode, output.read(MOST_PRINTED_BYTES), ran.stderr[-2000:].decode("utf-8", "replace"))


def _start(words: Sequence[str], user: int, group: int, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "memray", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(home),
        cwd="/",
        start_new_session=True,  # whoever ends us and ours lets a debugger come to its end
        **as_user(user, group),
    )


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": PROGRAMS_PATH, "LANG": "C.UTF-8", "HOME": str(home)}


def as_user(user: int, group: int) -> dict[str, Any]:
    """Root becomes the user of the process, with its group, which the kernel compares as well; anybody else is that user."""
    if os.geteuid() != 0 or user == 0:
        return {}
    return {"user": user, "group": group, "extra_groups": []}


def _package_folders(pid: int, proc: Path) -> set[str]:
    """Where the Python of a process finds packages: from what it has loaded, its program and its environment."""
    found = {_up_to_packages(line.split(None, 5)[-1]) for line in _text(proc / str(pid) / "maps").splitlines() if "/" in line}
    variables = dict(word.partition("=")[::2] for word in _text(proc / str(pid) / "environ").split("\0"))
    found.update(word for word in variables.get("PYTHONPATH", "").split(":") if word.startswith("/"))
    try:
        program = os.readlink(proc / str(pid) / "exe")
    except OSError:
        program = ""
    for prefix in (variables.get("VIRTUAL_ENV", ""), os.path.dirname(os.path.dirname(program))):
        if prefix.startswith("/"):
            root = proc / str(pid) / "root" / prefix.lstrip("/")
            found.update(f"{prefix}/{folder.relative_to(root)}" for name in PACKAGES for folder in root.glob(f"lib/python3*/{name}"))
    return found - {""}


def _up_to_packages(path: str) -> str:
    for name in PACKAGES:
        before, mark, _ = path.partition(f"/{name}/")
        if mark:
            return f"{before}/{name}"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
