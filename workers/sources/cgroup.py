"""What a container allows and uses: cgroup v1 and v2 limits of a process, the tightest on its way up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

NO_LIMIT_FROM = 1 << 60
"""cgroup v1 writes no limit as the largest multiple of a page in 63 bits."""
LOOKED_UP_EVERY_S = 60.0
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted cgroup hierarchy; `controllers` is empty for v2."""

    point: str
    root: str  # the cgroup that is mounted here: / unless this is a container without a cgroup namespace
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class ContainerReading:
    """Figures of the cgroup that limits a process; all None where it is in no container and has no limit."""

    cpu_limit: float | None = None  # cores
    cpu_percent: float | None = None  # of cpu_limit, or of all cores, 0 to 100
    memory_limit_bytes: int | None = None
    memory_used_bytes: int | None = None  # working set: what cannot be dropped from the page cache is counted


@dataclass(frozen=True, slots=True)
class _Groups:
    """Folders of a process's cgroups, innermost first."""

    is_v2: bool = False
    is_container: bool = False
    cpu: list[Path] = field(default_factory=list)
    cpuacct: list[Path] = field(default_factory=list)
    memory: list[Path] = field(default_factory=list)


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The cgroup lines of /proc/<pid>/mountinfo."""
    mounts = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 5 or not kinds or kinds[0] not in {"cgroup", "cgroup2"}:
            continue
        options = kinds[2].split(",") if kinds[0] == "cgroup" and len(kinds) > 2 else []
        mounts.append(Mount(point=fields[4], root=fields[3], controllers=frozenset(options)))
    return mounts


def parse_membership(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup: controller → path; the v2 hierarchy is the controller ""."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            paths.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return paths


def parse_cpu_max(text: str) -> float | None:
    """cpu.max of v2: "max 100000" or "<quota> <period>", in cores."""
    words = text.split()
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def parse_memory_limit(text: str, host_bytes: int | None = None) -> int | None:
    """memory.max or memory.limit_in_bytes; None for no limit, or one above what the host has."""
    word = text.strip()
    if not word.isdigit() or int(word) >= NO_LIMIT_FROM or (host_bytes is not None and int(word) >= host_bytes):
        return None
    return int(word)


def parse_flat(text: str) -> dict[str, int]:
    """The "name value" lines of memory.stat and cpu.stat."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


class ContainerReader:
    """Reads the container of one process, such as a raylet. CPU use needs two readings."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._proc = proc
        self._groups = _Groups()
        self._looked_up_at = -float("inf")
        self._before: tuple[float, Path, int] | None = None  # when, which cgroup, CPU nanoseconds

    def read(self, now: float, cpu_count: int | None, host_bytes: int | None) -> ContainerReading:
        """The container now."""
        if abs(now - self._looked_up_at) >= LOOKED_UP_EVERY_S:
            self._looked_up_at = now
            self._groups = find_groups(self._pid, self._proc)
        cpu_limit, cpu_at = self._tightest_cpu(cpu_count)
        memory_limit, memory_at = self._tightest_memory(host_bytes)
        if not self._groups.is_container and cpu_limit is None and memory_limit is None:
            return ContainerReading()
        used_percent = self._cpu_percent(now, cpu_at, cpu_limit or cpu_count)
        used_bytes = self._working_set(memory_at) if self._groups.is_container or memory_limit is not None else None
        return ContainerReading(cpu_limit, used_percent, memory_limit, used_bytes)

    def _tightest_cpu(self, cpu_count: int | None) -> tuple[float | None, int]:
        limits = [(limit, at) for at, folder in enumerate(self._groups.cpu) if (limit := self._cpu_limit(folder)) is not None]
        limit, at = min(limits, default=(None, 0))
        return (None, at) if limit is not None and cpu_count is not None and limit >= cpu_count else (limit, at)

    def _cpu_limit(self, folder: Path) -> float | None:
        if self._groups.is_v2:
            return parse_cpu_max(_text(folder / "cpu.max"))
        return parse_cpu_max(f"{_text(folder / 'cpu.cfs_quota_us').strip()} {_text(folder / 'cpu.cfs_period_us').strip()}")

    def _tightest_memory(self, host_bytes: int | None) -> tuple[int | None, int]:
        name = "memory.max" if self._groups.is_v2 else "memory.limit_in_bytes"
        found = ((parse_memory_limit(_text(folder / name), host_bytes), at) for at, folder in enumerate(self._groups.memory))
        return min(((limit, at) for limit, at in found if limit is not None), default=(None, 0))

    def _working_set(self, at: int) -> int | None:
        if at >= len(self._groups.memory):
            return None
        folder = self._groups.memory[at]
        used = _text(folder / ("memory.current" if self._groups.is_v2 else "memory.usage_in_bytes")).strip()
        if not used.isdigit():
            return None
        reclaimable = parse_flat(_text(folder / "memory.stat")).get("inactive_file" if self._groups.is_v2 else "total_inactive_file", 0)
        return max(0, int(used) - reclaimable)

    def _cpu_percent(self, now: float, at: int, cores: float | None) -> float | None:
        folders = self._groups.cpu if self._groups.is_v2 else self._groups.cpuacct
        if at >= len(folders) or not cores:
            return None
        used = self._cpu_nanoseconds(folders[at])
        before, self._before = self._before, (now, folders[at], used) if used is not None else None
        if before is None or used is None or before[1] != folders[at] or now <= before[0] or used < before[2]:
            return None
        return round(min(100.0, (used - before[2]) / 1e7 / (now - before[0]) / cores), 1)

    def _cpu_nanoseconds(self, folder: Path) -> int | None:
        if self._groups.is_v2:
            microseconds = parse_flat(_text(folder / "cpu.stat")).get("usage_usec")
            return None if microseconds is None else microseconds * 1000
        word = _text(folder / "cpuacct.usage").strip()
        return int(word) if word.isdigit() else None


def find_groups(pid: int, proc: Path = Path("/proc")) -> _Groups:
    """The cgroups of a process, as seen from here.

    A path that starts with /.. lies outside our own cgroup namespace: then the process's own view of
    /sys/fs/cgroup is read, through /proc/<pid>/root (needs the same user or more).
    """
    membership = parse_membership(_text(proc / str(pid) / "cgroup"))
    outside = any(path.startswith("/..") for path in membership.values())
    mounts = parse_mounts(_text(proc / (str(pid) if outside else "self") / "mountinfo"))
    above = proc / str(pid) / "root" if outside else None
    if outside:
        membership = dict.fromkeys(membership, "/")
    if "memory" in membership and any("memory" in mount.controllers for mount in mounts):
        chains = {name: _chain(name, membership, mounts, above) for name in ("cpu", "cpuacct", "memory")}
        is_container = outside or any(mount.root != "/" for mount in mounts if "memory" in mount.controllers)
        return _Groups(False, is_container, chains["cpu"], chains["cpuacct"], chains["memory"])
    unified = _chain("", membership, mounts, above)
    # The true root cgroup has no memory.current: only the root of a container's own namespace has.
    is_container = bool(unified) and (unified[-1] / "memory.current").exists()
    return _Groups(True, is_container, unified, unified, unified)


def _chain(controller: str, membership: dict[str, str], mounts: list[Mount], above: Path | None) -> list[Path]:
    """Folders of a process's cgroup and those above it, innermost first."""
    path = membership.get(controller)
    mount = next((m for m in mounts if (controller in m.controllers if controller else not m.controllers)), None)
    if path is None or mount is None:
        return []
    if mount.root != "/" and (path == mount.root or path.startswith(mount.root + "/")):
        path = path[len(mount.root) :]
    top = Path(mount.point) if above is None else above / mount.point.lstrip("/")
    inner = top / path.strip("/")
    return [inner, *[folder for folder in list(inner.parents)[:MAX_DEPTH] if folder == top or top in folder.parents]]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
