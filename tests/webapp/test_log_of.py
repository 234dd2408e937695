"""The logs of one of Ray's things: the node is this process, its files are named as Ray names them."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest

from clusterstate.settings import Settings
from clusterstate.store.kept_logs import KeptLogsWriter, Piece, host_file
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.nodes_here import answer_here
from workers.probes import logs
from workers.probes.running import Running, set_running
from workers.sources.beneath import NotThere

NODE = "0" * 55 + "7"
WORKER, BEFORE = "ab" * 28, "cd" * 28
ACTOR, TASK = "0" * 31 + "7", "0" * 47 + "7"


@pytest.fixture
def folder(tmp_path: Path, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True)
    cluster.with_node_stats(NODE, hostname="gpu-7")
    cluster.with_worker(worker_id=WORKER, node_id=NODE, pid=77)
    lives = [{"worker_id": BEFORE, "node_id": NODE}]
    cluster.with_actor(actor_id=ACTOR, state="ALIVE", worker_id=WORKER, node_id=NODE, previous_incarnations=lives)
    cluster.project()
    answer_here(tmp_path, monkeypatch)
    for worker_id, pid in ((WORKER, 77), (BEFORE, 66)):
        (tmp_path / f"worker-{worker_id}-01000000-{pid}.out").write_text(f"printed by {pid}\n")
        (tmp_path / f"worker-{worker_id}-01000000-{pid}.err").write_text("")
        (tmp_path / f"python-core-worker-{worker_id}_{pid}.log").write_text(f"noted in {pid}\n")
    return tmp_path


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split('id="logs"')[1]))


def test_a_worker_shows_what_it_printed_and_the_rest_as_tabs(vera: Person, folder: Path) -> None:
    page = text(vera.page(f"/c/demo/logs/of?worker={WORKER}").text)
    assert "printed by 77" in page
    assert "printed by 66" not in page
    assert "stderr (empty)" in page
    assert "system" in page


def test_another_file_is_a_tab_away(vera: Person, folder: Path) -> None:
    page = vera.page(f"/c/demo/logs/of?worker={WORKER}").text
    system = re.search(r'href="([^"]+)"[^>]*>system<', page)
    assert system is not None
    assert "noted in 77" in text(vera.page(system[1].replace("&amp;", "&")).text)


def test_an_actor_shows_all_its_lives(vera: Person, folder: Path) -> None:
    page = text(vera.page(f"/c/demo/logs/of?actor={ACTOR}").text)
    assert "It lived 2 times" in page
    assert "stdout of pid 77" in page
    assert "stdout of pid 66" in page


def test_a_replica_of_serve_brings_the_file_that_serve_writes_for_it(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    (folder / "serve").mkdir()
    (folder / "serve" / "replica_app_Model_x1.log").write_text("GET / 200\n")
    (folder / "serve" / "replica_app_Model_x2.log").write_text("of another one\n")
    replica, name = "0" * 31 + "8", "SERVE_REPLICA::app#Model#x1"
    cluster.with_actor(actor_id=ACTOR, state="ALIVE", worker_id=BEFORE, node_id=NODE)
    cluster.with_actor(actor_id=replica, name=name, ray_namespace="serve", state="ALIVE", worker_id=WORKER, node_id=NODE)
    cluster.project()
    for whose in (f"actor={replica}", f"worker={WORKER}"):
        page = vera.page(f"/c/demo/logs/of?{whose}").text
        assert re.findall(r">(stdout|stderr|system|Serve)\b[^<]*</a>", page) == ["stdout", "stderr", "system", "Serve"]
        link = re.search(r'href="([^"]+)"[^>]*>Serve<', page)
        assert link is not None
        assert "GET / 200" in text(vera.page(link[1].replace("&amp;", "&")).text)


def test_a_task_shows_its_own_lines_alone(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    (folder / f"worker-{WORKER}-01000000-77.out").write_text("before\nmine\nmine too\nafter\n")
    files = cluster.with_text(json.dumps([f"/tmp/ray/session/logs/worker-{WORKER}-01000000-77.out", None]))
    cluster.with_task(task_id=TASK, state="FINISHED", node_id=NODE, worker_id=WORKER, log_files_id=files, stdout_start=7, stdout_end=21)
    cluster.project()
    page = text(vera.page(f"/c/demo/logs/of?task={TASK}&attempt=0").text)
    assert "mine too" in page
    assert "before" not in page
    assert "after" not in page


def test_a_task_that_wrote_nothing_says_so(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    files = cluster.with_text(json.dumps([f"worker-{WORKER}-01000000-77.out"]))
    cluster.with_task(task_id=TASK, state="FINISHED", node_id=NODE, worker_id=WORKER, log_files_id=files, stdout_start=5, stdout_end=5)
    cluster.project()
    assert "Nothing was written there while it ran." in text(vera.page(f"/c/demo/logs/of?task={TASK}").text)


def test_a_call_of_an_actor_is_explained(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    cluster.with_task(task_id=TASK, state="FINISHED", type="ACTOR_TASK", node_id=NODE, worker_id=WORKER, actor_id=ACTOR)
    cluster.project()
    page = text(vera.page(f"/c/demo/logs/of?task={TASK}").text)
    assert "which lines are of which call of an actor" in page
    assert "printed by 77" in page


def test_a_task_without_a_worker_has_written_nothing(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    cluster.with_task(task_id=TASK, state="PENDING_ARGS_AVAIL")
    cluster.project()
    assert "did not come to a worker" in text(vera.page(f"/c/demo/logs/of?task={TASK}").text)


def test_a_submitted_job_shows_its_driver(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    (folder / "job-driver-raysubmit_a.log").write_text("the driver says\n")
    cluster.with_job(job_key="raysubmit_a", job_id="01000000", submission_id="raysubmit_a", driver_node_id=NODE)
    cluster.project()
    assert "the driver says" in text(vera.page("/c/demo/logs/of?job=raysubmit_a").text)


def test_a_driver_that_was_not_submitted_is_explained(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    cluster.with_job(job_key="01000000", job_id="01000000", submission_id=None, driver_node_id=NODE)
    cluster.project()
    assert "Ray keeps no copy of what it printed" in text(vera.page("/c/demo/logs/of?job=01000000").text)


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("/dev/pts/3", "/dev/pts/3", "Its stdout and stderr go to the terminal /dev/pts/3."),
        ("/home/me/out.txt", "/dev/null", "Its stdout goes to the file /home/me/out.txt, its stderr goes to /dev/null: it is lost."),
        ("pipe:[7]", "socket:[8]", "Its stdout goes to a pipe, to the program that started it, its stderr goes to a socket"),
        ("/a <b>\u202e", None, "Its stdout goes to the file /a &lt;b&gt;"),
        (None, None, "that went where it was started"),
    ],
)
def test_where_a_driver_prints_to_is_said_while_it_runs(
    vera: Person, cluster: BuiltCluster, folder: Path, stdout: str | None, stderr: str | None, said: str
) -> None:
    cluster.with_job(job_key="01000000", job_id="01000000", submission_id=None, driver_node_id=NODE, driver_pid=4711)
    cluster.with_process(NODE, 4711, kind="DRIVER", stdout=stdout, stderr=stderr)
    cluster.project()
    page = vera.page("/c/demo/logs/of?job=01000000").text
    assert said in text(page)
    assert "\u202e" not in page


def test_of_a_node_that_is_gone_it_says_so_and_shows_what_was_kept(
    vera: Person, cluster: BuiltCluster, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, worker = "0" * 55 + "9", "ef" * 28

    def no_raylet(node_id: str) -> Path:
        raise NotThere("The raylet of this node does not run on this machine (any more).")

    monkeypatch.setattr(logs, "log_folder", no_raylet)
    cluster.with_node(node_id=gone, state="DEAD", end_time_ms=1_700_000_000_000, state_message="it was drained")
    cluster.with_worker(worker_id=worker, node_id=gone)
    cluster.project()
    address = f"/c/demo/logs/of?worker={worker}"
    assert "Nothing of its log files was kept" in text(vera.page(address).text)
    set_running(Running(settings, "demo", "head", lambda words: None, lambda part: None))
    writer = KeptLogsWriter(host_file(settings.state_dir, "demo", "session_1", "h9"), 1 << 20)
    writer.of_nodes((gone,))
    writer.add(Piece("1-1", f"worker-{worker}-01000000-99.out".encode(), 500, 14, 1_700_000_000_000, zlib.compress(b"its last words")))
    writer.close()
    page = text(vera.page(address).text)
    assert "its last words" in page
    assert "The node was lost" in page
    assert "it was drained" in page
    assert "from byte 500 on" in page


def test_a_part_that_was_not_kept_is_not_called_empty(
    vera: Person, cluster: BuiltCluster, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_raylet(node_id: str) -> Path:
        raise NotThere("The raylet of this node does not run on this machine (any more).")

    monkeypatch.setattr(logs, "log_folder", no_raylet)
    set_running(Running(settings, "demo", "head", lambda words: None, lambda part: None))
    name = f"worker-{WORKER}-01000000-77.out"
    writer = KeptLogsWriter(host_file(settings.state_dir, "demo", "session_1", "h9"), 1 << 20)
    writer.of_nodes((NODE,))
    writer.add(Piece("1-1", name.encode(), 5000, 14, 1_700_000_000_000, zlib.compress(b"its last words")))
    writer.close()
    files = cluster.with_text(json.dumps([name]))
    cluster.with_node(node_id=NODE, state="DEAD", end_time_ms=1_700_000_000_000)
    for number, (start, end) in enumerate([(7, 21), (5, 5), (4990, 5003), (6000, 6010)]):
        cluster.with_task(
            task_id=f"{number:048x}",
            state="FINISHED",
            node_id=NODE,
            worker_id=WORKER,
            log_files_id=files,
            stdout_start=start,
            stdout_end=end,
        )
    cluster.project()
    pages = [text(vera.page(f"/c/demo/logs/of?task={number:048x}").text) for number in range(4)]
    lost = "What was written there while it ran was not kept: of this file bytes 5 000 to 5 014 were."
    assert [lost in page for page in pages] == [True, False, False, True]
    assert "Nothing was written there while it ran." in pages[1]
    assert "… its" in pages[2], "and a line whose beginning was not kept is marked"


def test_the_last_life_stands_first_whatever_its_pid(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    for worker_id, pid, started in ((WORKER, 77, 2_000), (BEFORE, 999_999, 1_000)):
        cluster.with_worker(worker_id=worker_id, node_id=NODE, pid=pid, start_time_ms=started)
        for path in folder.glob(f"*{worker_id}*"):
            path.rename(str(path).replace("-66.", f"-{pid}.").replace("_66.", f"_{pid}."))
    cluster.project()
    page = text(vera.page(f"/c/demo/logs/of?actor={ACTOR}").text)
    assert page.index("stdout of pid 77") < page.index("stdout of pid 999999")
    assert "printed by 77" in page


@pytest.mark.parametrize(
    ("asked", "status"), [("", 400), ("what=1", 400), ("worker=x", 404), ("actor=x", 404), ("task=x", 404), ("job=x", 404)]
)
def test_what_cannot_be_asked(vera: Person, folder: Path, asked: str, status: int) -> None:
    assert vera.page(f"/c/demo/logs/of?{asked}").status_code == status


def test_pages_of_things_bring_their_logs(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    cluster.with_job(job_key="01000000", job_id="01000000", driver_node_id=NODE)
    cluster.with_task(task_id=TASK, state="FINISHED", node_id=NODE, worker_id=WORKER)
    cluster.project()
    for path, whose in (
        (f"workers/{WORKER}", f"worker={WORKER}"),
        (f"actors/{ACTOR}", f"actor={ACTOR}"),
        (f"tasks/{TASK}", f"task={TASK}"),
        ("jobs/01000000", "job=01000000"),
    ):
        assert f'hx-get="/c/demo/logs/of?{whose}' in vera.page(f"/c/demo/{path}").text
