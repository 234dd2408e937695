"""The figures of a host: pure arithmetic on texts of /proc, then this machine's own."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import psutil
import pytest

from clusterstate.hosts import boot_id
from workers.sources import host_decode as decode
from workers.sources.host import DISKS_EVERY_S, HostReader, read_disks
from workers.sources.host_decode import CpuTimes

STAT = "cpu  100 10 50 800 40 0 5 5 20 0\ncpu0 1 2 3 4\nbtime 1795376562\n"
NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 500 5 0 0 0 0 0 0 500 5 0 0 0 0 0 0
  eth0:1000 5 0 0 0 0 0 0 2000 5 0 0 0 0 0 0
"""
DISKS = """ 254       0 vda 85807 27708 100 28082 24069 36904 200 20992 0 17940 49863
 254       1 vda1 85807 27708 90 28082 24069 36904 190 20992 0 17940 49863
   7       0 loop0 0 0 7 0 0 0 7 0 0 0 0
"""


def test_waiting_for_a_disk_is_idle_and_guests_are_not_counted_twice() -> None:
    assert decode.cpu_times(STAT) == CpuTimes(busy=170, total=1010)
    assert decode.cpu_times("") is None


def test_cpu_use_is_that_between_two_readings() -> None:
    assert decode.busy_percent(CpuTimes(100, 1000), CpuTimes(150, 1200)) == 25.0
    assert decode.busy_percent(None, CpuTimes(150, 1200)) is None
    assert decode.busy_percent(CpuTimes(100, 1000), CpuTimes(100, 1000)) is None


def test_memory_is_in_bytes() -> None:
    assert decode.meminfo("MemTotal:  16 kB\nHugePages_Total: 3\nodd\n") == {"MemTotal": 16384, "HugePages_Total": 3}


def test_bytes_of_interfaces_are_read_even_where_the_colon_touches_the_number() -> None:
    assert decode.network_counters(NET) == {"lo": (500, 500), "eth0": (1000, 2000)}


def test_only_whole_disks_are_counted_and_not_their_partitions_too() -> None:
    assert decode.disk_counters(DISKS, {"vda"}) == (100 * 512, 200 * 512)


@pytest.mark.parametrize(
    ("before", "after", "seconds", "rate"),
    [(100, 300, 2.0, 100.0), (None, 300, 2.0, None), (300, 100, 2.0, None), (1, 2, 0.0, None), (1, 2, -3.0, None)],
)
def test_a_rate_that_cannot_be_known_is_unknown_and_never_negative(
    before: int | None, after: int, seconds: float, rate: float | None
) -> None:
    assert decode.per_second(before, after, seconds) == rate


def test_a_host_total_counts_network_cards_where_there_are_any() -> None:
    assert decode.counted_interfaces({"lo": "loopback", "eth0": "device", "docker0": "virtual", "veth1": "virtual"}) == {"eth0"}
    assert decode.counted_interfaces({"lo": "loopback", "eth0": "virtual"}) == {"eth0"}  # inside a container


def test_the_operating_system_has_its_own_name() -> None:
    assert decode.os_name('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n', "x") == "Debian GNU/Linux 12"
    assert decode.os_name("", "Linux-6") == "Linux-6"


def test_this_host_is_read_as_it_is() -> None:
    reading = HostReader().read(1000.0)

    assert reading.problems == []
    assert reading.boot_id == boot_id()
    assert reading.hostname == socket.gethostname()
    assert reading.cpu_count == os.cpu_count()
    assert reading.memory_total_bytes == psutil.virtual_memory().total
    assert reading.boot_time_ms == pytest.approx(psutil.boot_time() * 1000, abs=2000)
    assert reading.memory_used_bytes is not None
    assert reading.memory_available_bytes is not None
    assert 0 < reading.memory_used_bytes < reading.memory_total_bytes
    assert reading.load_1 is not None


def test_the_first_reading_has_no_rates_and_the_second_has() -> None:
    reader = HostReader()
    first = reader.read(1000.0)
    began = time.process_time()
    while time.process_time() - began < 0.05:  # some clock ticks
        pass
    second = reader.read(1001.0)

    assert (first.cpu_percent, first.network, first.disk_read_bytes_per_s) == (None, [], None)
    assert second.cpu_percent is not None
    assert 0 <= second.cpu_percent <= 100
    assert {interface.name for interface in second.network} == set(psutil.net_io_counters(pernic=True))
    assert second.network_received_bytes_per_s is not None
    loopback = next(interface for interface in second.network if interface.name == "lo")
    assert "127.0.0.1" in loopback.addresses


def test_a_clock_that_was_set_back_gives_unknown_rates_and_no_failure() -> None:
    reader = HostReader()
    reader.read(5000.0)
    assert reader.read(1000.0).network == []
    assert len(reader.read(1001.0).network) > 0


def test_disks_are_real_ones_each_once_with_the_root_first() -> None:
    disks = read_disks()

    assert disks[0].mount == "/"
    assert disks[0].total_bytes >= disks[0].used_bytes > 0
    assert len({os.stat(disk.mount).st_dev for disk in disks}) == len(disks)
    assert not any(disk.mount.startswith(("/proc", "/sys")) for disk in disks)


def test_the_file_system_of_rays_folder_is_shown_even_where_it_is_in_memory() -> None:
    reader = HostReader()
    assert "/dev/shm" not in [disk.mount for disk in reader.read(1000.0).disks]
    assert "/dev/shm" in [disk.mount for disk in reader.read(1000.0 + DISKS_EVERY_S, also=("/dev/shm",)).disks]


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text("1.50 0.75 0.25 1/100 999\n")
    reading = HostReader(proc=tmp_path).read(1000.0)

    assert (reading.load_1, reading.load_15) == (1.5, 0.25)
    assert (reading.cpu_percent, reading.memory_total_bytes) == (None, None)
    assert any("meminfo cannot be read" in problem for problem in reading.problems)
