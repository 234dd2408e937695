"""Log files: nothing outside the session's log folder is opened or listed, whatever names, links and races say."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from workers.sources import beneath
from workers.sources.beneath import NotThere, Refused, folder_of, regular_file
from workers.sources.log_listing import file_id, list_folder, name_of

CANARY = b"what nobody may read"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A log folder with a file in it, and a canary beside it and in a sibling whose name begins alike."""
    folder = tmp_path / "session" / "logs"
    (folder / "serve").mkdir(parents=True)
    (folder / "serve" / "proxy.log").write_bytes(b"inside")
    (tmp_path / "session" / "logs_evil").mkdir()
    (tmp_path / "session" / "logs_evil" / "canary").write_bytes(CANARY)
    (tmp_path / "canary").write_bytes(CANARY)
    return folder


@pytest.fixture(params=["openat2", "step by step"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's help and without."""
    if request.param == "step by step":

        def missing(_: int, __: str) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(beneath, "_openat2", missing)


def content(folder: Path, name: str) -> bytes:
    with folder_of(folder) as descriptor, regular_file(descriptor, name) as file:
        return os.read(file, 100)


OUTSIDE = (
    "../canary", "../../canary", "../logs_evil/canary", "serve/../../canary", "serve/../../../canary", "/etc/passwd", "//etc/passwd",
    "..%2f..%2fcanary", "%2e%2e/canary", "%252e%252e/canary", "..\\canary", "....//canary", "file:///etc/passwd", "serve/\0/../canary",
    "\0", "", ".", "..", "./..", "serve", "x" * 5000, "\uff0e\uff0e/canary", "\udcc0\udcae\udcc0\udcae/canary", "~/canary", "*", "../*",
    "serve/proxy.log/..", "/proc/self/environ", "proc/self/environ", "serve//..//..//..//canary",
)  # fmt: skip


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: repr(name[:30]))
def test_no_name_leads_outside(logs: Path, name: str) -> None:
    with pytest.raises(Refused):
        content(logs, name)


@pytest.mark.usefixtures("either_way")
def test_what_is_inside_is_read(logs: Path) -> None:
    assert content(logs, "serve/proxy.log") == b"inside"
    assert content(logs, "./serve//proxy.log") == b"inside"


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("target", ["/etc/passwd", "../../canary", "../logs_evil/canary", "/proc/self/root/etc/passwd", "nowhere", "self"])
def test_no_link_leads_outside(logs: Path, target: str) -> None:
    (logs / "self").symlink_to(target)
    (logs / "folder").symlink_to(logs.parent.parent)
    (logs / "chain").symlink_to("self")
    for name in ("self", "chain", "folder/canary"):
        with pytest.raises(Refused):
            content(logs, name)


def test_a_link_that_stays_inside_is_a_file_like_others(logs: Path) -> None:
    (logs / "link.log").symlink_to("serve/proxy.log")
    assert content(logs, "link.log") == b"inside"


@pytest.mark.usefixtures("either_way")
def test_other_than_regular_files_are_refused_at_once(logs: Path) -> None:
    os.mkfifo(logs / "pipe.log")
    (logs / "folder.log").mkdir()
    os.link(logs.parent.parent / "canary", logs / "hard.log")
    before = time.monotonic()
    for name in ("pipe.log", "folder.log", "hard.log"):
        with pytest.raises(Refused):
            content(logs, name)
    assert time.monotonic() - before < 1.0, "a pipe that nobody writes to is not waited for"


def test_a_link_that_is_swapped_all_the_time_never_shows_what_is_outside(logs: Path) -> None:
    stop = threading.Event()

    def swap() -> None:
        inside, outside = logs / "inside", logs / "outside"
        while not stop.is_set():
            inside.write_bytes(b"inside")
            inside.replace(logs / "swapped.log")
            outside.symlink_to("../../canary")
            outside.replace(logs / "swapped.log")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[bytes] = set()
    try:
        for _ in range(2_000):
            try:
                seen.add(content(logs, "swapped.log"))
            except Refused:
                continue
    finally:
        stop.set()
        swapping.join()
    assert seen <= {b"inside", b""}


def test_the_listing_has_regular_files_alone(logs: Path) -> None:
    os.mkfifo(logs / "pipe.log")
    os.link(logs.parent.parent / "canary", logs / "hard.log")
    (logs / "out.log").symlink_to("../../canary")
    (logs / "dangling.log").symlink_to("nowhere")
    (logs / "all").symlink_to("../..")
    (logs / "in.log").symlink_to("serve/proxy.log")
    (logs / "empty.log").touch()
    with folder_of(logs) as folder:
        listing = list_folder(folder)
    assert {entry.name: entry.size for entry in listing.entries} == {"serve/proxy.log": 6, "in.log": 6, "empty.log": 0}
    assert listing.is_whole


def test_a_listing_of_too_many_says_so(logs: Path) -> None:
    for number in range(10):
        (logs / f"{number}.log").touch()
    with folder_of(logs) as folder:
        listing = list_folder(folder, max_files=5)
    assert len(listing.entries) == 5
    assert not listing.is_whole


def test_a_file_is_addressed_by_what_the_listing_gave(logs: Path) -> None:
    with folder_of(logs) as folder:
        [entry] = list_folder(folder).entries
        assert name_of(folder, entry.file_id) == "serve/proxy.log"
        for other in ("serve/proxy.log", file_id("../canary"), "", "x" * 16):
            with pytest.raises(NotThere):
                name_of(folder, other)


def test_a_folder_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="log folder"), folder_of(tmp_path / "gone"):
        pass
