"""What the kernel's tables of a host say, as numbers. Pure: texts of /proc in, figures out."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

SECTOR_BYTES = 512
"""/proc/diskstats counts in sectors of 512 bytes, whatever the device's own are."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Clock ticks since boot, over all cores."""

    busy: int
    total: int


def cpu_times(proc_stat: str) -> CpuTimes | None:
    """The first line of /proc/stat. Guest time is already within user time; waiting for a disk is idle."""
    words = proc_stat.split("\n", 1)[0].split()
    if len(words) < 5 or words[0] != "cpu":
        return None
    ticks = [int(word) for word in words[1:9]]
    idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
    return CpuTimes(busy=sum(ticks) - idle, total=sum(ticks))


def busy_percent(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """Of all cores, 0 to 100; None without two readings that differ."""
    if before is None or after is None or after.total <= before.total:
        return None
    return round(min(100.0, max(0.0, 100.0 * (after.busy - before.busy) / (after.total - before.total))), 1)


def boot_time_ms(proc_stat: str) -> int | None:
    """The `btime` line of /proc/stat, which counts whole seconds."""
    for line in proc_stat.splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) * 1000
    return None


def meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    figures: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            figures[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return figures


def loads(text: str) -> tuple[float, float, float] | None:
    """/proc/loadavg: over 1, 5 and 15 minutes."""
    words = text.split()
    return (float(words[0]), float(words[1]), float(words[2])) if len(words) >= 3 else None


def network_counters(text: str) -> dict[str, tuple[int, int]]:
    """/proc/net/dev: interface → bytes (received, sent)."""
    counters: dict[str, tuple[int, int]] = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) >= 9:
            counters[name.strip()] = (int(words[0]), int(words[8]))
    return counters


def disk_counters(text: str, devices: Container[str]) -> tuple[int, int]:
    """/proc/diskstats: bytes (read, written) of these devices together."""
    read = written = 0
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 10 and words[2] in devices:
            read += int(words[5]) * SECTOR_BYTES
            written += int(words[9]) * SECTOR_BYTES
    return read, written


def per_second(before: int | None, after: int | None, seconds: float) -> float | None:
    """The rate of a counter; None where it went back (a device was replaced) or no time passed."""
    if before is None or after is None or after < before or seconds <= 0:
        return None
    return round((after - before) / seconds, 1)


def os_name(os_release: str, fallback: str) -> str:
    """PRETTY_NAME of /etc/os-release."""
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME" and value.strip():
            return value.strip().strip("\"'")
    return fallback


def counted_interfaces(kinds: Mapping[str, str]) -> set[str]:
    """Which interfaces make up a host's total; `kinds` says device, virtual or loopback of each.

    Traffic of a container passes its virtual interface and then the network card: where there are cards,
    only they count. A container itself has none, so there all but the loopback count.
    """
    cards = {name for name, kind in kinds.items() if kind == "device"}
    return cards or {name for name, kind in kinds.items() if kind != "loopback"}
