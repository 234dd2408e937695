"""What a container allows and uses, on folders laid out as the kernel lays out cgroup v1 and v2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.sources.cgroup import (
    ContainerReader,
    ContainerReading,
    Mount,
    parse_cpu_max,
    parse_flat,
    parse_membership,
    parse_memory_limit,
    parse_mounts,
)

GIB = 1 << 30


class Container:
    """A folder that holds a /proc and a /sys/fs/cgroup of one process."""

    def __init__(self, folder: Path, membership: str, kind: str, options: str = "rw", root: str = "/") -> None:
        self.proc, self.groups = folder / "proc", folder / "cgroup"
        for pid in ("7", "self"):
            (self.proc / pid).mkdir(parents=True)
            (self.proc / pid / "cgroup").write_text(membership)
            (self.proc / pid / "mountinfo").write_text(f"30 20 0:26 {root} {self.groups} rw - {kind} {kind} {options}\n")

    def write(self, group: str, **files: str) -> None:
        folder = self.groups / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text + "\n")

    def read(self, reader: ContainerReader | None = None, now: float = 1000.0) -> ContainerReading:
        return (reader or ContainerReader(7, self.proc)).read(now, cpu_count=8, host_bytes=64 * GIB)


def v2(folder: Path, path: str) -> Container:
    return Container(folder, f"0::{path}\n", "cgroup2")


def v1(folder: Path, path: str, root: str = "/") -> Container:
    return Container(folder, f"4:memory:{path}\n3:cpu,cpuacct:{path}\n", "cgroup", "rw,memory,cpu,cpuacct", root)


def test_without_container_or_limit_there_are_no_container_figures(tmp_path: Path) -> None:
    host = v2(tmp_path, "/user.slice/session-1.scope")
    host.write("user.slice/session-1.scope", memory__max="max", memory__current="1000", cpu__max="max 100000")

    assert host.read() == ContainerReading()


def test_v2_limits_and_use_of_a_container(tmp_path: Path) -> None:
    container = v2(tmp_path, "/")
    container.write("", cpu__max="150000 100000", cpu__stat="usage_usec 1000000\nuser_usec 5", memory__max=str(4 * GIB))
    container.write("", memory__current=str(3 * GIB), memory__stat=f"anon 5\ninactive_file {GIB}")
    reader = ContainerReader(7, container.proc)
    first = container.read(reader)
    container.write("", cpu__stat="usage_usec 1750000")

    assert first == ContainerReading(1.5, None, 4 * GIB, 2 * GIB)
    assert container.read(reader, 1001.0).cpu_percent == 50.0  # 0.75 of 1.5 cores


def test_v1_limits_and_use_of_a_container(tmp_path: Path) -> None:
    container = v1(tmp_path, "/docker/abc", root="/docker/abc")
    container.write(
        "", **{"memory.limit_in_bytes": str(2 * GIB), "memory.usage_in_bytes": str(GIB), "memory.stat": "total_inactive_file 24"}
    )
    container.write("", **{"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000", "cpuacct.usage": "1000000000"})
    reader = ContainerReader(7, container.proc)
    first = container.read(reader)
    container.write("", **{"cpuacct.usage": "2000000000"})

    assert first == ContainerReading(2.0, None, 2 * GIB, GIB - 24)
    assert container.read(reader, 1001.0).cpu_percent == 50.0


def test_a_container_without_limits_shows_what_it_uses(tmp_path: Path) -> None:
    container = v2(tmp_path, "/")
    container.write("", cpu__max="max 100000", memory__max="max", memory__current="500", memory__stat="inactive_file 100")

    assert container.read() == ContainerReading(None, None, None, 400)


def test_the_tightest_limit_on_the_way_up_is_the_one_that_binds(tmp_path: Path) -> None:
    nested = v2(tmp_path, "/pod/ray")
    nested.write("pod/ray", memory__max=str(8 * GIB), memory__current="80", cpu__max="max 100000")
    nested.write("pod", memory__max=str(4 * GIB), memory__current="400", memory__stat="inactive_file 0", cpu__max="50000 100000")

    assert nested.read() == ContainerReading(0.5, None, 4 * GIB, 400)


def test_a_limit_above_what_the_host_has_is_none(tmp_path: Path) -> None:
    assert parse_memory_limit("9223372036854771712") is None
    assert parse_memory_limit(str(65 * GIB), 64 * GIB) is None
    assert parse_memory_limit("max") is None
    assert parse_memory_limit("0") == 0


def test_a_process_outside_our_own_cgroup_namespace_is_read_through_its_own_eyes(tmp_path: Path) -> None:
    sidecar = v2(tmp_path, "/../ray-container")
    (sidecar.proc / "7" / "mountinfo").write_text("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    inside = sidecar.proc / "7" / "root" / "sys" / "fs" / "cgroup"
    inside.mkdir(parents=True)
    (inside / "memory.max").write_text(f"{GIB}\n")
    (inside / "memory.current").write_text("300\n")

    assert sidecar.read() == ContainerReading(None, None, GIB, 300)


def test_a_process_that_ended_has_no_figures(tmp_path: Path) -> None:
    container = v2(tmp_path, "/")
    assert ContainerReader(4_000_000, container.proc).read(1000.0, 8, 64 * GIB) == ContainerReading()


def test_parsing_takes_what_the_kernel_writes_and_nothing_else() -> None:
    assert parse_cpu_max("max 100000") is None
    assert parse_cpu_max("-1 100000") is None
    assert parse_cpu_max("5 0") is None
    assert parse_flat("a 1\nb x\nc\n") == {"a": 1}
    assert parse_membership("3:cpu,cpuacct:/a\n0::/b:c\nodd") == {"cpu": "/a", "cpuacct": "/a", "": "/b:c"}
    assert parse_mounts("30 20 0:26 /docker/x /m rw shared:1 - cgroup cgroup rw,memory\n31 20 0:1 / /p rw - proc p rw\n") == [
        Mount("/m", "/docker/x", frozenset({"rw", "memory"}))
    ]


def test_this_process_can_be_asked() -> None:
    reading = ContainerReader(os.getpid()).read(1000.0, os.cpu_count(), None)
    assert reading.memory_used_bytes is None or reading.memory_used_bytes > 0


@pytest.mark.parametrize("group", ["/", "/a/b"])
def test_missing_files_are_unknown_figures_and_no_failure(tmp_path: Path, group: str) -> None:
    assert v2(tmp_path, group).read() == ContainerReading()
