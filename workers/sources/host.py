"""What a host measures of itself: /proc and /sys, read each second. A host may hold several Ray nodes."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from clusterstate.hosts import boot_id
from clusterstate.model import Disk, NetworkInterface
from workers.sources import host_decode as decode

MAX_DISKS = 32
MAX_INTERFACES = 32
DISKS_EVERY_S = 10.0
INVENTORY_EVERY_S = 60.0
"""Interfaces, their addresses and block devices seldom change, and cost more to list than to read."""

LOOPBACK_FLAG = 0x8


@dataclass(frozen=True, slots=True)
class HostReading:
    """One look at a host. Fields are those of NodeStats, which gives their units."""

    at: float
    boot_id: str | None = None
    hostname: str | None = None
    os: str | None = None
    cpu_count: int | None = None
    cpu_count_physical: int | None = None
    cpu_percent: float | None = None
    load_1: float | None = None
    load_5: float | None = None
    load_15: float | None = None
    boot_time_ms: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None  # total - available, as Ray counts it
    memory_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    shared_memory_bytes: int | None = None
    disks: list[Disk] = field(default_factory=list)
    disk_root_total_bytes: int | None = None
    disk_root_used_bytes: int | None = None
    disk_read_bytes_per_s: float | None = None
    disk_write_bytes_per_s: float | None = None
    network: list[NetworkInterface] = field(default_factory=list)
    network_sent_bytes_per_s: float | None = None
    network_received_bytes_per_s: float | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Counters:
    at: float
    cpu: decode.CpuTimes | None = None
    disk: tuple[int, int] | None = None
    network: dict[str, tuple[int, int]] = field(default_factory=dict)


class HostReader:
    """Reads this host. Rates need two readings: the first has none."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._sys = sys
        self._before: _Counters | None = None
        self._disks: list[Disk] = []
        self._root: tuple[int, int] | None = None
        self._disks_at = self._inventory_at = -float("inf")
        self._devices: frozenset[str] = frozenset()
        self._addresses: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._fixed = _fixed_facts(proc)

    def read(self, now: float, also: tuple[str, ...] = ()) -> HostReading:
        """The host now. `also` names folders whose file systems are listed even where they are no real mounts."""
        problems: list[str] = []
        proc_stat = self._text("stat", problems)
        self._take_inventory(now)
        self._look_at_disks(now, also)
        memory = decode.meminfo(self._text("meminfo", problems))
        counters = _Counters(
            at=now,
            cpu=decode.cpu_times(proc_stat),
            disk=decode.disk_counters(self._text("diskstats", problems), self._devices),
            network=decode.network_counters(self._text("self/net/dev", problems)),
        )
        before, self._before = self._before or _Counters(at=now), counters
        load = decode.loads(self._text("loadavg", problems)) or (None, None, None)
        network = self._network(before, counters)
        counted = decode.counted_interfaces(self._kinds)
        return HostReading(
            at=now,
            boot_id=self._fixed.boot_id,
            hostname=socket.gethostname(),
            os=self._fixed.os,
            cpu_count=os.cpu_count(),
            cpu_count_physical=self._fixed.cpu_count_physical,
            cpu_percent=decode.busy_percent(before.cpu, counters.cpu),
            load_1=load[0],
            load_5=load[1],
            load_15=load[2],
            boot_time_ms=decode.boot_time_ms(proc_stat),
            memory_total_bytes=memory.get("MemTotal"),
            memory_used_bytes=_difference(memory, "MemTotal", "MemAvailable"),
            memory_available_bytes=memory.get("MemAvailable"),
            swap_total_bytes=memory.get("SwapTotal"),
            swap_used_bytes=_difference(memory, "SwapTotal", "SwapFree"),
            shared_memory_bytes=memory.get("Shmem"),
            disks=self._disks,
            disk_root_total_bytes=self._root[0] if self._root else None,
            disk_root_used_bytes=self._root[1] if self._root else None,
            disk_read_bytes_per_s=_disk_rate(before, counters, 0),
            disk_write_bytes_per_s=_disk_rate(before, counters, 1),
            network=sorted(network, key=_busiest_first)[:MAX_INTERFACES],
            network_sent_bytes_per_s=_total([i.sent_bytes_per_s for i in network if i.name in counted]),
            network_received_bytes_per_s=_total([i.received_bytes_per_s for i in network if i.name in counted]),
            problems=problems,
        )

    def _text(self, name: str, problems: list[str]) -> str:
        try:
            return (self._proc / name).read_text()
        except OSError as error:
            problems.append(f"{self._proc / name} cannot be read: {error.strerror}.")
            return ""

    def _network(self, before: _Counters, after: _Counters) -> list[NetworkInterface]:
        seconds = after.at - before.at
        interfaces = []
        for name, (received, sent) in after.network.items():
            received_before, sent_before = before.network.get(name, (None, None))
            received_rate = decode.per_second(received_before, received, seconds)
            sent_rate = decode.per_second(sent_before, sent, seconds)
            if received_rate is not None and sent_rate is not None:
                interfaces.append(NetworkInterface(name, sent_rate, received_rate, self._addresses.get(name, [])))
        return interfaces

    def _take_inventory(self, now: float) -> None:
        if abs(now - self._inventory_at) < INVENTORY_EVERY_S:
            return
        self._inventory_at = now
        self._devices = frozenset(path.name for path in _entries(self._sys / "block") if (path / "device").exists())
        self._kinds = {path.name: _interface_kind(path) for path in _entries(self._sys / "class" / "net")}
        families = (socket.AF_INET, socket.AF_INET6)
        self._addresses = {
            name: [a.address for a in addresses if a.family in families][:8] for name, addresses in psutil.net_if_addrs().items()
        }

    def _look_at_disks(self, now: float, also: tuple[str, ...]) -> None:
        if abs(now - self._disks_at) < DISKS_EVERY_S:
            return
        self._disks_at = now
        self._disks = read_disks(("/", *also))
        self._root = next(((d.total_bytes, d.used_bytes) for d in self._disks if d.mount == "/"), None)


@dataclass(frozen=True, slots=True)
class _FixedFacts:
    boot_id: str | None
    os: str
    cpu_count_physical: int | None


def _fixed_facts(proc: Path) -> _FixedFacts:
    """What cannot change while this process lives."""
    return _FixedFacts(
        boot_id=boot_id(proc),
        os=decode.os_name(_whole(Path("/etc/os-release")), platform.platform()),
        cpu_count_physical=psutil.cpu_count(logical=False),
    )


def read_disks(always: tuple[str, ...] = ("/",)) -> list[Disk]:
    """Real file systems, each once, and those that hold the `always` folders.

    Network file systems are left out: asking a server that is away would hold the collector up.
    """
    known = {p.mountpoint: p for p in psutil.disk_partitions(all=True)}
    mounts = [_mount_of(path) for path in always if os.path.isdir(path)]
    mounts += [p.mountpoint for p in psutil.disk_partitions(all=False) if os.path.isdir(p.mountpoint)]
    disks: dict[int, Disk] = {}
    for mount in mounts:
        try:
            number = os.stat(mount).st_dev
            if number in disks or len(disks) >= MAX_DISKS:
                continue
            usage = psutil.disk_usage(mount)
        except OSError:
            continue  # unmounted meanwhile, or not ours to see
        if usage.total:
            partition = known.get(mount)
            device, fstype = (partition.device, partition.fstype) if partition else ("", None)
            disks[number] = Disk(mount, device, usage.total, usage.used, usage.free, fstype)
    return list(disks.values())


def _mount_of(path: str) -> str:
    """The mount point above a folder."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _interface_kind(path: Path) -> str:
    flags = _first_line(path / "flags")
    if flags is not None and int(flags, 16) & LOOPBACK_FLAG:
        return "loopback"
    return "device" if (path / "device").exists() else "virtual"


def _busiest_first(interface: NetworkInterface) -> tuple[float, str]:
    return (-(interface.sent_bytes_per_s + interface.received_bytes_per_s), interface.name)


def _disk_rate(before: _Counters, after: _Counters, which: int) -> float | None:
    if before.disk is None or after.disk is None:
        return None
    return decode.per_second(before.disk[which], after.disk[which], after.at - before.at)


def _total(rates: list[float]) -> float | None:
    return round(sum(rates), 1) if rates else None


def _difference(figures: dict[str, int], whole: str, part: str) -> int | None:
    return figures[whole] - figures[part] if whole in figures and part in figures else None


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _whole(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _first_line(path: Path) -> str | None:
    lines = _whole(path).splitlines()
    return lines[0].strip() if lines else None
