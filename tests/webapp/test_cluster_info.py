"""The page about the cluster: what the GCS told, and what the head node's collector adds."""

from __future__ import annotations

import re

from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person

COMMIT = "b7f4259e944bf6959f721b106adc366ddfa0c356"


def fact(page: str, name: str) -> str:
    """What stands beside a name, without its markup."""
    found = re.search(rf"<dt[^>]*>\s*{name}.*?</dt>\s*<dd[^>]*>(.*?)</dd>", page, re.DOTALL)
    assert found, name
    return re.sub(r"<[^>]+>", "", found[1]).strip()


def test_commit_and_system_are_those_of_the_head_node_where_the_gcs_does_not_tell(cluster: BuiltCluster, vera: Person) -> None:
    head, other = cluster.with_node(is_head_node=True), cluster.with_node()
    cluster.with_node_stats(other.node_id, os="Another", ray_commit="0" * 40)
    assert fact(vera.page("/c/demo/info").text, "Ray commit") == "–"
    assert fact(vera.page("/c/demo/info").text, "Operating system") == "–"

    cluster.with_node_stats(head.node_id, os="Debian GNU/Linux 12", ray_commit=COMMIT)
    cluster.with_node(is_head_node=True, state="DEAD")

    page = vera.page("/c/demo/info").text
    assert fact(page, "Ray commit").startswith(COMMIT[:7])
    assert fact(page, "Operating system") == "Debian GNU/Linux 12"
