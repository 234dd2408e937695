"""Whose the files of a node are: by actor class, job, worker, Serve replica or the node itself, and whether that lives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clusterstate.log_names import serve_file
from clusterstate.model import Actor
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.nodes_here import answer_here
from tests.webapp.test_every_page import HOSTILE, Elements
from workers.sources.log_listing import file_id

NODE, BESIDE = "0" * 55 + "7", "0" * 55 + "8"
TRAINER, BEFORE, PLAIN, GONE = "a1" * 28, "a2" * 28, "b1" * 28, "c1" * 28


@pytest.fixture
def folder(tmp_path: Path, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True, node_ip="10.0.0.7")
    cluster.with_node_stats(NODE, hostname="gpu-7")
    cluster.with_worker(worker_id=TRAINER, node_id=NODE, pid=1, is_alive=True)
    cluster.with_worker(worker_id=BEFORE, node_id=NODE, pid=2, is_alive=False)
    cluster.with_worker(worker_id=PLAIN, node_id=NODE, pid=3, is_alive=True)
    cluster.with_actor(actor_id="0" * 31 + "1", class_name="Trainer", name="rank0", state="ALIVE", worker_id=TRAINER, node_id=NODE)
    cluster.with_task(type="ACTOR_CREATION_TASK", state="FINISHED", actor_id="0" * 31 + "1", worker_id=BEFORE, node_id=NODE)
    cluster.with_job(job_key="raysubmit_a", job_id="01000000", submission_id="raysubmit_a", status="SUCCEEDED", driver_node_id=NODE)
    cluster.project()
    answer_here(tmp_path, monkeypatch)
    for worker_id, pid in ((TRAINER, 1), (BEFORE, 2), (PLAIN, 3), (GONE, 4)):
        (tmp_path / f"worker-{worker_id}-01000000-{pid}.out").write_text("x\n")
        (tmp_path / f"worker-{worker_id}-01000000-{pid}.err").write_text("x\n" if worker_id == TRAINER else "")
    (tmp_path / "job-driver-raysubmit_a.log").write_text("x\n")
    (tmp_path / "raylet.out").write_text("x\n")
    (tmp_path / "gcs_server.out").write_text("x\n")
    return tmp_path


def rows(page: str) -> dict[str, str]:
    """file → what its row says."""
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2], re.DOTALL):
        name = re.search(r'title="([^"]+)"', row)
        found[name[1] if name else ""] = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row))
    return found


def test_each_file_says_whose_it_is_and_whether_that_lives(vera: Person, folder: Path) -> None:
    page = vera.page("/c/demo/logs").text
    found = rows(page)
    assert re.search(r"Trainer rank0 job 01000000 ALIVE", found[f"worker-{TRAINER}-01000000-1.out"])
    assert re.search(r"Trainer rank0 job 01000000 DEAD", found[f"worker-{BEFORE}-01000000-2.out"]), "an earlier life"
    assert re.search(r"worker 3 job 01000000 ALIVE", found[f"worker-{PLAIN}-01000000-3.out"])
    assert re.search(r"worker 4 job 01000000 –", found[f"worker-{GONE}-01000000-4.out"]), "nobody knows"
    assert re.search(r"job raysubmit_a DEAD", found["job-driver-raysubmit_a.log"])
    assert "head node ALIVE" in found["raylet.out"]
    assert f'href="/c/demo/actors/{"0" * 31}1"' in page


def test_a_file_says_on_its_page_whose_it_is(vera: Person, folder: Path) -> None:
    page = vera.page(f"/c/demo/logs/{NODE}/{file_id(f'worker-{TRAINER}-01000000-1.out')}").text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("</h1>")[2]))
    assert said.strip().startswith("Of Trainer rank0 , job 01000000 ALIVE , node gpu-7")


def test_files_are_grouped_by_class_of_actor(vera: Person, folder: Path) -> None:
    page = vera.page("/c/demo/logs").text
    link = re.search(r'href="([^"]+)"[^>]*>Trainer <b>2</b>', page)
    assert link is not None
    chosen = rows(vera.page(link[1].replace("&amp;", "&")).text)
    assert sorted(chosen) == [f"worker-{TRAINER}-01000000-1.err", f"worker-{TRAINER}-01000000-1.out"]
    assert "No file matches" in vera.page("/c/demo/logs?class_name=Nobody").text


def test_of_raylets_that_share_a_folder_nobody_knows_whose_a_file_is(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    cluster.with_node(node_id=BESIDE, hostname="gpu-7", node_ip="10.0.0.7")
    cluster.with_node_stats(BESIDE, hostname="gpu-7")
    cluster.with_actor(class_name="Loader", state="ALIVE", worker_id=PLAIN, node_id=BESIDE)
    cluster.project()
    page = vera.page("/c/demo/logs").text
    assert "one of 2 nodes here ALIVE" in rows(page)["raylet.out"]
    assert "head node ALIVE" in rows(page)["gcs_server.out"]
    assert "Loader" in rows(page)[f"worker-{PLAIN}-01000000-3.out"]
    assert re.search(r">Loader <b>1</b>", page)


def test_a_file_of_serve_is_its_replicas(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    (folder / "serve").mkdir()
    (folder / "serve" / "replica_app_Model_x1y2.log").write_text("x\n")
    (folder / "serve" / "replica_app_Model_x1y2.log.1").write_text("x\n")
    name, class_name = "SERVE_REPLICA::app#Model#x1y2", "ServeReplica:app:Model"
    cluster.with_actor(class_name=class_name, name=name, ray_namespace="serve", state="DEAD", node_id=NODE, worker_id=PLAIN)
    cluster.project()
    found = rows(vera.page("/c/demo/logs?group=serve").text)
    assert len(found) == 2
    assert all("ServeReplica:app:Model" in row and "DEAD" in row for row in found.values())


def test_nothing_in_a_class_does_anything(vera: Person, cluster: BuiltCluster, folder: Path) -> None:
    cluster.with_actor(class_name=HOSTILE, name=HOSTILE, state="ALIVE", worker_id=PLAIN, node_id=NODE)
    cluster.project()
    found = Elements(vera.page("/c/demo/logs").text).found
    assert not [1 for name, attrs in found if name in {"b", "img"} and ("onerror" in attrs or attrs.get("id") == "marker")]


@pytest.mark.parametrize(
    ("fields", "file"),
    [
        ({"name": "SERVE_REPLICA::app#Model#x1", "class_name": "ServeReplica:app:Model"}, "serve/replica_app_Model_x1.log"),
        ({"name": "SERVE_REPLICA::Model#x1", "class_name": "ServeReplica:Model"}, "serve/replica_Model_x1.log"),
        ({"name": "SERVE_REPLICA::a/b#M?#x1", "class_name": "ServeReplica"}, "serve/replica_a_b_M__x1.log"),
        ({"name": "SERVE_CONTROLLER_ACTOR", "class_name": "ServeController", "pid": 7}, "serve/controller_7.log"),
        ({"name": "SERVE_PROXY_ACTOR-ab", "class_name": "ProxyActor", "ip": "10.0.0.7"}, "serve/proxy_10.0.0.7.log"),
        ({"name": "SERVE_PROXY_ACTOR-ab", "class_name": "ProxyActor"}, None),
        ({"name": "mine", "class_name": "Mine"}, None),
        ({"name": "SERVE_REPLICA::a#M#x1", "ray_namespace": "mine"}, None),
        ({"class_name": "ServeReplica"}, None),
    ],
)
def test_names_of_serves_actors_say_where_they_log(fields: dict[str, object], file: str | None) -> None:
    assert serve_file(Actor(**{"actor_id": "a", "state": "ALIVE", "ray_namespace": "serve", **fields})) == file  # type: ignore[arg-type]
