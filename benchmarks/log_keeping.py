"""Logs on their way to the head: how late they are kept, and what that costs, while files are written to all the time."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine
from benchmarks.load import Figures
from clusterstate.store import kept_space
from clusterstate.store.kept_logs import KeptFile, KeptLogsReader

WRITE_EVERY_S = 0.1
LOOK_EVERY_S = 0.5
ALL_KEPT_WITHIN_S = 60.0
NAME = "kept-benchmark-"


@dataclass(frozen=True)
class Load:
    """What is written."""

    mb_s: float
    files: int
    seconds: float


@dataclass
class Written:
    """How many bytes were written when."""

    times: list[float] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)

    def add(self, length: int) -> None:
        self.times.append(time.monotonic())
        self.totals.append(self.total + length)

    @property
    def total(self) -> int:
        return self.totals[-1] if self.totals else 0

    def age_of(self, total: int) -> float:
        """How long ago the first byte was written that is not among so many; 0 if all are."""
        at = bisect_left(self.totals, total + 1)
        return time.monotonic() - self.times[at] if at < len(self.times) else 0.0


@dataclass(frozen=True)
class Outcome:
    """What was seen."""

    load: Load
    late: Figures
    all_kept_s: float
    written: int
    on_disk: int
    shares: dict[str, float]  # of a core, by role
    is_right: bool  # what is kept is what was written

    def __str__(self) -> str:
        late = (
            f"kept p50 {self.late.percentile_ms(0.5) / 1000:.1f} s, p95 {self.late.percentile_ms(0.95) / 1000:.1f} s after it was written"
        )
        cost = ", ".join(f"{role} {share:.1%} of a core" for role, share in self.shares.items())
        load = f"{self.load.mb_s:g} MB/s in {self.load.files} files for {self.load.seconds:g} s"
        room = f"{self.written / 1e6:.1f} MB take {self.on_disk / 1e6:.1f} MB"
        is_right = "right" if self.is_right else "WRONG"
        return f"{load}: {late}, all of it {self.all_kept_s:.1f} s after the last; {cost}; {room}; {is_right}"


def measure(folder: Path, state_dir: Path, cluster: str, pids: dict[str, int], load: Load) -> Outcome:
    """Writes to files of a node's log folder, and looks at what the head keeps meanwhile."""
    paths = [folder / f"{NAME}{number:04d}.log" for number in range(load.files)]
    written, late = Written(), Figures()
    roles: dict[str, int] = {role: pids[role] for role in ("follower", "keeper", "redis") if role in pids}
    size, costs, began = _size(state_dir, cluster), machine.costs(roles), time.monotonic()
    try:
        looked = began
        for _ in _write(paths, load, written):
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                late.latencies_s.append(written.age_of(_bytes_kept(state_dir, cluster)))
        ended = time.monotonic()
        while _bytes_kept(state_dir, cluster) < written.total and time.monotonic() - ended < ALL_KEPT_WITHIN_S:
            time.sleep(0.1)
        now = time.monotonic()
        shares = {role: (cost.cpu_s - costs[role].cpu_s) / (now - began) for role, cost in machine.costs(roles).items()}
        is_right = all(_kept_content(state_dir, cluster, path.name) == path.read_bytes() for path in paths)
        return Outcome(load, late, now - ended, written.total, _size(state_dir, cluster) - size, shares, is_right)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _write(paths: list[Path], load: Load, written: Written) -> Iterator[None]:
    chosen = random.Random(11)
    began = time.monotonic()
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb", buffering=0)) for path in paths]
        while (elapsed := time.monotonic() - began) < load.seconds:
            while written.total < elapsed * load.mb_s * 1e6:
                stamp = time.strftime("%Y-%m-%d %H:%M:%S")
                lines = [f"[{stamp},{n:03d} I 77 77] lease granted {chosen.getrandbits(48):x} node {n}\n" for n in range(20)]
                written.add(chosen.choice(files).write("".join(lines).encode()))
            yield
            time.sleep(WRITE_EVERY_S)


def _kept(state_dir: Path, cluster: str) -> Iterator[tuple[KeptLogsReader, KeptFile]]:
    for path in kept_space.files_of(state_dir, cluster):
        with KeptLogsReader(path) as reader:
            for file in reader.files():
                if file.name.startswith(NAME.encode()):
                    yield reader, file


def _bytes_kept(state_dir: Path, cluster: str) -> int:
    return sum(file.end for _, file in _kept(state_dir, cluster))


def _kept_content(state_dir: Path, cluster: str, name: str) -> bytes:
    return b"".join(
        chunk for reader, file in _kept(state_dir, cluster) if file.name == name.encode() for chunk in reader.chunks(file.inode)
    )


def _size(state_dir: Path, cluster: str) -> int:
    return sum(map(kept_space.size_of, kept_space.files_of(state_dir, cluster)))
