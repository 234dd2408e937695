"""What the nodes' pages show by themselves: GPUs where there are some, the last known of the dead, a node alone unfolded."""

from __future__ import annotations

import time

import pytest

from clusterstate import model
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person

GPU = model.Gpu(index=0, uuid="GPU-1", name="A100", utilization_percent=70.0, memory_used_bytes=2**30, memory_total_bytes=2**34)


def heads(page: str) -> str:
    """The head of the page's first table."""
    return page.split("<thead>")[1].split("</thead>")[0]


@pytest.mark.parametrize("page", ["nodes", "actors", "workers"])
def test_columns_about_gpus_are_there_only_where_a_node_has_gpus(cluster: BuiltCluster, vera: Person, page: str) -> None:
    node = cluster.with_node()
    cluster.with_actor(node_id=node.node_id)
    cluster.with_worker(node_id=node.node_id)
    assert ">GRAM<" not in heads(vera.page(f"/c/demo/{page}").text)
    cluster.with_node_stats(node.node_id, gpus=[GPU], gpu_count=1, gpu_utilization_percent=70.0)
    assert ">GRAM<" in heads(vera.page(f"/c/demo/{page}").text)


def test_chosen_columns_stay_as_chosen_where_a_node_has_gpus(cluster: BuiltCluster, vera: Person) -> None:
    node = cluster.with_node()
    cluster.with_node_stats(node.node_id, gpus=[GPU], gpu_count=1)
    assert ">GRAM<" not in heads(vera.page("/c/demo/nodes?columns=hostname,state").text)


def test_a_dead_node_keeps_its_figures_and_says_that_they_are_the_last_known(cluster: BuiltCluster, vera: Person) -> None:
    node = cluster.with_node(state="DEAD", end_time_ms=int(time.time() * 1000), state_message="it was switched off")
    cluster.with_node_stats(node.node_id, cpu_percent=41.0, cpu_count=8)
    assert "last known" in vera.page("/c/demo/nodes").text
    page = vera.page(f"/c/demo/nodes/{node.node_id}").text
    assert "last known" in page
    assert "41 %" in page
    assert "it was switched off" in page


def test_a_node_alone_starts_with_its_processes_shown_and_can_be_folded(cluster: BuiltCluster, vera: Person) -> None:
    node = cluster.with_node()
    cluster.with_process(node.node_id, 4242, title="ray::IDLE")
    assert "4242" in vera.page("/c/demo/nodes").text
    assert "4242" not in vera.page("/c/demo/nodes?expand=none").text
    cluster.with_node()
    assert "4242" not in vera.page("/c/demo/nodes").text
    assert "4242" in vera.page(f"/c/demo/nodes?expand={node.node_id}").text


def test_a_table_within_a_page_leads_to_where_it_can_be_filtered(cluster: BuiltCluster, vera: Person) -> None:
    job = cluster.with_job()
    cluster.with_actor(job_id=job.job_id)
    assert f"/c/demo/actors?job_id={job.job_id}" in vera.page(f"/c/demo/jobs/{job.job_key}?tab=actors").text
