"""What a node answers of its log files: which there are, what each is, and what stands in them."""

from __future__ import annotations

import os
from base64 import b64decode
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from clusterstate.log_names import named
from clusterstate.probes import ListLogs
from workers.probes import logs as probe
from workers.probes.logs import list_logs, read_log
from workers.probes.running import CannotAnswer
from workers.sources.beneath import NotThere, Refused
from workers.sources.log_folders import log_folder

NODE = "ab" * 28
WORKER = "cd" * 28
SESSION = "session_2026-11-22_10-00-00_000000_1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's log folder, with a few files as Ray names them."""
    monkeypatch.setattr(probe, "log_folder", lambda node_id: tmp_path)
    (tmp_path / "serve").mkdir()
    for number, (name, content) in enumerate(
        {
            "raylet.out": "started\n",
            "gcs_server.out": "one\ntwo\nthree\n",
            f"worker-{WORKER}-01000000-77.out": "printed\n",
            f"worker-{WORKER}-01000000-77.err": "",
            "serve/replica_app_Model_x.log": "served\n",
        }.items()
    ):
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (1000 + number, 1000 + number))
    return tmp_path


def listed(**asked: Any) -> dict[str, Any]:
    return list_logs(**asdict(ListLogs(NODE, **asked)))


def names(answer: dict[str, Any]) -> list[str]:
    return [file["name"] for file in answer["files"]]


@pytest.mark.usefixtures("folder")
def test_what_was_written_last_comes_first_and_empty_files_are_counted() -> None:
    answer = listed()
    assert names(answer) == ["serve/replica_app_Model_x.log", f"worker-{WORKER}-01000000-77.out", "gcs_server.out", "raylet.out"]
    assert (answer["matching"], answer["total"], answer["empty"], answer["is_whole"]) == (4, 5, 1, True)
    assert answer["groups"] == {"serve": 1, "worker": 1, "gcs": 1, "raylet": 1}
    assert len(listed(with_empty=True)["files"]) == 5


@pytest.mark.usefixtures("folder")
def test_files_of_each_worker_are_counted_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed()["workers"] == {}
    assert listed(with_workers=True)["workers"] == {WORKER: 1}
    assert listed(with_workers=True, with_empty=True)["workers"] == {WORKER: 2}
    monkeypatch.setattr(probe, "MOST_WORKERS", 0)
    assert listed(with_workers=True)["workers_are_whole"] is False


@pytest.mark.usefixtures("folder")
def test_files_are_found_by_name_and_group_and_come_in_pages() -> None:
    assert names(listed(name="MODEL")) == ["serve/replica_app_Model_x.log"]
    assert names(listed(group="worker")) == [f"worker-{WORKER}-01000000-77.out"]
    assert listed(group="worker")["groups"]["gcs"] == 1, "the other groups are still counted, to be chosen"
    assert names(listed(sort="name", offset=1, limit=2)) == ["raylet.out", "serve/replica_app_Model_x.log"]
    assert names(listed(sort="-size", limit=1)) == ["gcs_server.out"]


@pytest.mark.usefixtures("folder")
def test_a_file_says_whose_it_is() -> None:
    [file] = listed(group="worker")["files"]
    assert (file["worker_id"], file["job_id"], file["pid"], file["stream"], file["rotation"]) == (WORKER, "01000000", 77, "stdout", 0)


def test_lines_are_read_from_either_end_and_numbered(folder: Path) -> None:
    [file] = listed(group="gcs")["files"]
    answer = read_log(NODE, file["file_id"], None, True, 2)
    assert b64decode(answer["content"]) == b"two\nthree\n"
    assert (answer["start"], answer["end"], answer["size"], answer["lines_before"]) == (4, 14, 14, 1)
    earlier = read_log(NODE, file["file_id"], answer["start"], True, 10)
    assert b64decode(earlier["content"]) == b"one\n"
    with (folder / "gcs_server.out").open("ab") as file_:
        file_.write(b"four")
    later = read_log(NODE, file["file_id"], 14, False, 10)
    assert (b64decode(later["content"]), later["pieces"]) == (b"four", [(4, True, False)])


def test_what_is_not_in_the_listing_is_not_read(folder: Path) -> None:
    (folder.parent / "canary").write_text("not for you")
    (folder / "link.log").symlink_to("../canary")
    from workers.sources.log_listing import file_id

    for wanted in (file_id("link.log"), file_id("../canary"), "../canary", ""):
        with pytest.raises(CannotAnswer):
            read_log(NODE, wanted, None, True, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "job-driver-raysubmit_x.log": ("driver", "stdout", 0, {"submission_id": "raysubmit_x"}),
        "job-driver-a.log.b.log.12": ("driver", "stdout", 12, {"submission_id": "a.log.b"}),
        f"worker-{WORKER}-ffffffff-9.err.1": ("worker", "stderr", 1, {"worker_id": WORKER, "job_id": None, "pid": 9}),
        f"python-core-worker-{WORKER}_9.log": ("worker", "system", 0, {"worker_id": WORKER, "pid": 9}),
        f"python-core-driver-02000000{'f' * 48}_7.log": ("driver", "system", 0, {"job_id": "02000000", "pid": 7}),
        "runtime_env_setup-01000000.log": ("runtime-env", "system", 0, {"job_id": "01000000"}),
        "runtime_env_agent.out": ("runtime-env", "stdout", 0, {}),
        "raylet.err": ("raylet", "stderr", 0, {}),
        "raylet.out.3": ("raylet", "stdout", 3, {}),
        "gcs_server.out": ("gcs", "stdout", 0, {}),
        "monitor.log": ("autoscaler", "system", 0, {}),
        "log_monitor.log": ("other", "system", 0, {}),
        "serve/controller_12.log": ("serve", "system", 0, {}),
        "events/event_GCS.log": ("other", "system", 0, {}),
        "worker-short-01000000-9.out": ("other", "stdout", 0, {"worker_id": None}),
        "\udcff\n.log": ("other", "system", 0, {}),
    }.items(),
    ids=lambda value: repr(value)[:40],
)
def test_names_say_what_a_file_is(name: str, expected: tuple[str, str, int, dict[str, Any]]) -> None:
    told = named(name)
    assert (told.group, told.stream, told.rotation) == expected[:3]
    assert {key: getattr(told, key) for key in expected[3]} == expected[3]


# --- Which folder


class Proc:
    """A /proc with processes that call themselves raylet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def raylet(self, pid: int, session_dir: Path, *, start: int, node_id: str = NODE, name: str = "raylet") -> None:
        (self.folder / str(pid)).mkdir(parents=True)
        fields = ["S", "1", "1", "1", *["0"] * 15, str(start), *["0"] * 10]
        (self.folder / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}")
        words = ["raylet", "--raylet_socket_name=x", f"--session-dir={session_dir}", f"--node_id={node_id}", f"--session-name={SESSION}"]
        (self.folder / str(pid) / "cmdline").write_text("\0".join(words) + "\0")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


def session_of(tmp_path: Path, where: str) -> Path:
    found = tmp_path / where / SESSION
    (found / "logs").mkdir(parents=True)
    return found


def test_the_oldest_raylet_of_the_node_names_the_folder(tmp_path: Path, proc: Proc) -> None:
    true, false = session_of(tmp_path, "true"), session_of(tmp_path, "false")
    proc.raylet(30, false, start=900)
    proc.raylet(40, true, start=100)
    proc.raylet(50, false, start=50, node_id="ef" * 28)
    proc.raylet(60, false, start=50, name="python")
    assert log_folder(NODE, proc.folder) == true / "logs"


def test_a_folder_that_is_not_named_as_the_session_is_none(tmp_path: Path, proc: Proc) -> None:
    proc.raylet(30, tmp_path, start=1)
    with pytest.raises(NotThere, match="does not run"):
        log_folder(NODE, proc.folder)


def test_a_folder_that_is_gone_or_a_link_is_said_to_be(tmp_path: Path, proc: Proc) -> None:
    session = session_of(tmp_path, "true")
    proc.raylet(30, session, start=1)
    (session / "logs").rmdir()
    with pytest.raises(NotThere, match="cannot be opened"):
        log_folder(NODE, proc.folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root: to give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, proc: Proc) -> None:
    session = session_of(tmp_path, "true")
    os.chown(session / "logs", 12345, 12345)
    proc.raylet(30, session, start=1)
    with pytest.raises(Refused, match="not of the user"):
        log_folder(NODE, proc.folder)
