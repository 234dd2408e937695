"""Having a JAX process trace what it runs, through the profiler server that its program started: jax.profiler.start_server(port)."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

from clusterstate.profile_answers import FAILED, IDLE, NO_PROGRAM, OTHER_USER, PROCESS_ENDED, UNSUPPORTED, WhyNot
from clusterstate.stacks import MOST_BYTES
from workers.sources import profile_facts, profile_obstacles
from workers.sources.cpu_recording import Recorded
from workers.sources.own_python import installing
from workers.sources.private_folders import PrivateFolder, Unfit, private_folder
from workers.sources.profile_notes import Note
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.profile_targets import PROC, Target
from workers.sources.trace_programs import MOST_TRACE_BYTES, TraceProgram, Waiting, common_obstacle, text_of

OUR_PYTHON, COLLECTOR = sys.executable, "jax.collect_profile"
MOST_PORTS, MOST_GREETED = 4, 30
LISTENS = "0A"
REACHED_ADDRESSES = frozenset({"00000000", "0100007F", "0" * 32})
"""0.0.0.0, 127.0.0.1 and [::], as the kernel writes them: where a profiler server listens."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS, FRAME_HEAD = 4, 9
ANSWERS_WITHIN_S = 0.3
WRITTEN_WITHIN_S = 30.0
"""After the duration, on each port: a collector loads JAX first, and turns what it got into a trace at last."""
TRACE_SUFFIX = ".trace.json.gz"
ENVIRON = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
"""The collector must not take the GPU that the job has."""
FIX_OURS = f"Install JAX and its trace reader beside Raydeck on this node: {installing('jax', 'xprof')}"
FIX_THEIRS = "Start the profiler server in the program, once in each process: jax.profiler.start_server(9999)"
FIX_SIZE = "Trace it for fewer seconds."
FIX_LONGER = "Trace it for more seconds, while it computes."


@dataclass(frozen=True)
class Parts:
    """What there is on this node, and in a process."""

    ours: bool  # our own Python can collect
    is_loaded: bool | None = None  # the process has loaded JAX; None: not known
    listens: bool | None = None  # on a port where a profiler server could be


def parts_for(target: Target | None, proc: Path = PROC) -> Parts:
    """Looks at what the process has loaded and where it listens: nothing is asked of it."""
    if target is None:
        return Parts(can_collect())
    maps = text_of(target.pid, "maps", proc)
    ports = ports_of(target.pid, proc)
    return Parts(can_collect(), None if maps is None else "jaxlib" in maps, None if ports is None else bool(ports))


def can_collect() -> bool:
    """Whether our own Python has JAX and what turns its profiles into traces."""
    return all(importlib.util.find_spec(name) is not None for name in ("jax", "xprof"))


def jax_version() -> str:
    try:
        return f"jax {version('jax')}"
    except PackageNotFoundError:
        return ""


def obstacle(parts: Parts, target: Target | None, node: NodeFacts, facts: TargetFacts | None) -> WhyNot | None:
    """What is in the way; None: nothing that is known of."""
    found = common_obstacle(target, node, facts)
    if found is not None:
        return found
    if not parts.ours:
        return WhyNot(NO_PROGRAM, "jax or xprof is not installed beside Raydeck on this node.", FIX_OURS)
    if parts.is_loaded is False:
        return WhyNot(UNSUPPORTED, "The process has not loaded JAX.", FIX_THEIRS)
    if parts.listens is False:
        return WhyNot(UNSUPPORTED, "The process listens on no port: its program started no profiler server.", FIX_THEIRS)
    return None


@dataclass
class JaxTracing:
    """One trace. `run` returns when it is over; the folder and the collector go with it."""

    target: Target
    duration_s: int
    node: NodeFacts
    report: Callable[[str], object]

    def run(self, note: Note) -> Recorded:
        why_not = obstacle(parts_for(self.target), self.target, self.node, profile_facts.target_facts(self.target))
        if why_not is not None:
            return Recorded(why_not=why_not)
        self.report("starting")
        ports = islice((port for port in (ports_of(self.target.pid) or ())[:MOST_GREETED] if speaks_grpc(port)), MOST_PORTS)
        found = Recorded(why_not=WhyNot(UNSUPPORTED, "No profiler server answers on a port of the process.", FIX_THEIRS))
        for port in ports:
            found = self._collect(note, port)
            if found.why_not is None or found.why_not.reason != UNSUPPORTED:
                break
        return found

    def _collect(self, note: Note, port: int) -> Recorded:
        with private_folder(self.target) as folder:
            try:
                collecting = TraceProgram(collector_words(port, self.duration_s, folder.path), self.target, folder.path, ENVIRON)
            except PermissionError:
                detail = "The user of the process may not run Raydeck's Python, and root's rights are not used for this."
                return Recorded(why_not=WhyNot(OTHER_USER, detail, "Run `raydeck node` as the user of the process."))
            with collecting:
                note.began(collecting.pid, str(folder.path))
                found = self._follow(collecting, port)
            return found if found.why_not is not None or found.ended else self._read(folder, found)

    def _follow(self, collecting: TraceProgram, port: int) -> Recorded:
        begun = time.monotonic()
        waiting = Waiting(self.target, self.duration_s, self.report)
        waiting.until(lambda: collecting.code is not None, self.duration_s + WRITTEN_WITHIN_S)
        took_s = time.monotonic() - begun
        found = Recorded(sampled_s=round(min(took_s, float(self.duration_s)), 2))
        if collecting.code != 0 and not self.target.is_alive:
            found.ended, found.detail = PROCESS_ENDED, "A trace is collected at its end: nothing of it is kept."
        elif collecting.code != 0:
            found.why_not = failure(port, collecting.said(), lasted=took_s >= self.duration_s)
        return found

    def _read(self, folder: PrivateFolder, found: Recorded) -> Recorded:
        written = folder.files(TRACE_SUFFIX)
        try:
            if not written:
                raise Unfit("There is none.")
            packed = folder.read(written[0].name, MOST_BYTES)
            found.trace_bytes = unpacked_size(packed, MOST_TRACE_BYTES)
        except Unfit as why:
            found.why_not = WhyNot(FAILED, f"The trace that was collected is not taken. {why}", FIX_SIZE)
            return found
        found.trace = packed
        return found


def collector_words(port: int, duration_s: int, folder: Path) -> list[str]:
    """The arguments of JAX's own collector, with our own Python."""
    words = [f"{port:d}", f"{duration_s * 1000:d}", "--log_dir", str(folder), "--no_perfetto_link"]
    return [OUR_PYTHON, "-I", "-m", COLLECTOR, *words]


def failure(port: int, said: str, lasted: bool) -> WhyNot:
    """Why nothing was collected, from what the collector said. Where no profiler server is, it says so before the time is over."""
    detail = profile_obstacles.shortened(said[-profile_obstacles.MOST_WORDS :])
    if "ModuleNotFoundError" in said or "ImportError" in said:
        return WhyNot(NO_PROGRAM, detail, FIX_OURS)
    if "No trace event" in said and lasted:
        return WhyNot(IDLE, f"JAX ran nothing: its profiler server on port {port} had nothing to tell.", FIX_LONGER)
    if "No trace event" in said:
        return WhyNot(UNSUPPORTED, f"On port {port} of the process no profiler server answers.", FIX_THEIRS)
    return WhyNot(FAILED, detail or "The collector did not come to its end in time.", FIX_THEIRS)


def ports_of(pid: int, proc: Path = PROC) -> list[int] | None:
    """Where a process listens and a collector of this machine reaches it, the lowest first; None: we may not look."""
    folder = proc / str(pid)
    try:
        if os.readlink(folder / "ns" / "net") != os.readlink(proc / "self" / "ns" / "net"):
            return []
        own = {os.readlink(entry.path) for entry in os.scandir(folder / "fd")}
    except FileNotFoundError:
        return []
    except OSError:
        return None
    listening = {inode: port for name in ("tcp", "tcp6") for inode, port in _listening(text_of(pid, f"net/{name}", proc) or "")}
    return sorted({port for inode, port in listening.items() if f"socket:[{inode}]" in own})


def speaks_grpc(port: int) -> bool:
    """Whether who listens there answers HTTP/2's greeting, as each gRPC server does. A collector waits long for others."""
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWERS_WITHIN_S) as connection:
            connection.sendall(GREETING)
            head = connection.recv(FRAME_HEAD, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == FRAME_HEAD and head[3] == SETTINGS


def unpacked_size(packed: bytes, most: int) -> int:
    """Of a gzip file. Raises Unfit: it is none, is torn, or holds more than `most`."""
    unpacking, size, rest = zlib.decompressobj(wbits=31), 0, packed
    try:
        while not unpacking.eof and rest:
            size += len(unpacking.decompress(rest, 1 << 20))
            rest = unpacking.unconsumed_tail
            if size > most:
                raise Unfit(f"It holds more than {most >> 20} MiB.")
    except zlib.error as error:
        raise Unfit(f"It is no gzip file: {error}.") from None
    if not unpacking.eof:
        raise Unfit("It is torn.")
    return size


def _listening(text: str) -> Iterable[tuple[int, int]]:
    """(inode, port) of each that /proc/<pid>/net/tcp tells of."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] == LISTENS and words[9].isdigit():
            address, _, port = words[1].partition(":")
            if address in REACHED_ADDRESSES:
                yield int(words[9]), int(port, 16)
