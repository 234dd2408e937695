"""Our text of `ray status` against the real one's, on a real cluster: the same facts, line by line, in the forms of both autoscalers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest
import redis

from clusterstate.model import ClusterStatus
from clusterstate.resources import NODE_RESOURCES, STATUS
from clusterstate.settings import Settings
from tests.workers.collecting import Seen, collecting, eventually
from tests.workers.real_ray_cluster import RealRay, real_ray
from webapp.status_text import status_nodes, status_text

pytestmark = pytest.mark.ray

WORKLOAD = """
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Within
from ray.autoscaler.sdk import request_resources
@ray.remote(num_cpus=0.5)
class Holder:
    def ready(self): return True
holder = Holder.remote()
group = placement_group([{'CPU': 0.5}, {'CPU': 0.25}]); ray.get(group.ready())
inside = Holder.options(num_cpus=0.25, scheduling_strategy=Within(group)).remote()
ray.get([holder.ready.remote(), inside.ready.remote()])
also_inside = Holder.options(num_cpus=0.5, num_gpus=0, scheduling_strategy=Within(group)).remote()
waits_inside = Holder.options(num_cpus=0.5, scheduling_strategy=Within(group, placement_group_bundle_index=0)).remote()
spread = placement_group([{'CPU': 50}] * 2, strategy='SPREAD', name='too big')
packed = placement_group([{'CPU': 60}, {'CPU': 60}, {'GPU': 7}], strategy='PACK', name='too big as well')
waiting = [Holder.options(num_cpus=99).remote() for _ in range(3)]
odd = Holder.options(resources={'odd': 1}).remote()
request_resources(num_cpus=1, bundles=[{'GPU': 3}])
time.sleep(300)
"""
UNKNOWABLE = re.compile(r"^(=+ Autoscaler status|-+$|GCS request time|Node Provider non_terminated|Autoscaler iteration time)")
"""Lines that are about the asking: when it was and how long it took."""
HEADINGS = 8
"""Of the shortest form: nodes, active, pending, failures, resources, usage, requests, demands."""


def told(ray: RealRay, *options: str, second: bool) -> str:
    """What `ray status` prints; `second`: in the form of the second autoscaler, whichever runs."""
    command = [ray.python, "-m", "ray.scripts.scripts", "status", "--address", ray.address, *options]
    environ = {**ray.environ, **({"RAY_enable_autoscaler_v2": "1"} if second else {})}
    return subprocess.run(command, env=environ, cwd=ray.folder, capture_output=True, text=True, check=True, timeout=60).stdout


def ours(seen: Seen, *, verbose: bool, second: bool) -> str:
    status: ClusterStatus = seen.rows(STATUS)[""]
    if second:
        status = replace(status, autoscaler_version="v2", demands=[one for one in status.demands if one.kind != "REQUEST_RESOURCES"])
    return status_text(status, status_nodes(seen.rows(NODE_RESOURCES).values()), 1.0, verbose=verbose)


def facts(text: str) -> dict[str, list[str]]:
    """The lines below each heading, in no order. How long a node has been idle passes; amounts are as exact as Ray's."""
    found: dict[str, list[str]] = {}
    heading = node = ""
    for line in text.splitlines():
        if not line.strip() or UNKNOWABLE.match(line):
            continue
        if line.startswith("Node: "):
            node = line
        if not line.startswith(" ") or (node and line.endswith(":")):
            heading = line if not line.startswith(" ") else node + line
            found[heading] = []
        else:
            exact = re.sub(r"\d+\.\d+", lambda number: str(round(float(number[0]), 4)), line)
            found[heading].append(re.sub(r"^ Idle: \d+ ms", " Idle", exact))
    return {name: sorted(lines) for name, lines in found.items()}


@pytest.mark.parametrize("second", [False, True], ids=["first autoscaler", "second autoscaler"])
def test_the_text_tells_what_ray_status_tells(redis_client: redis.Redis, settings: Settings, second: bool) -> None:
    with real_ray() as ray, collecting(redis_client, settings, ray.address, ray.environ) as seen:
        ray.start_driver(WORKLOAD)
        eventually(lambda: (row := seen.rows(STATUS).get("")) and len(row.demands) >= 7 and row, within_s=60)
        assert seen.rows(STATUS)[""].autoscaler_version == "v1"

        for options in ((), ("-v",)):
            compare(ray, seen, options, second)
        ray.kill_second_node()
        eventually(lambda: [node.state for node in seen.nodes.values()].count("DEAD") == 1, within_s=30)
        for options in ((), ("-v",)):
            compare(ray, seen, options, second)


def compare(ray: RealRay, seen: Seen, options: tuple[str, ...], second: bool) -> None:
    """Both are asked again while they differ: the first autoscaler reports each five seconds."""
    pairs: list[tuple[str, str]] = []

    def agree() -> bool:
        pairs.append((ours(seen, verbose=bool(options), second=second), told(ray, *options, second=second)))
        mine, theirs = map(facts, pairs[-1])
        assert len(theirs) >= HEADINGS
        return mine == theirs

    try:
        eventually(agree, within_s=20)
    except AssertionError:
        mine, theirs = map(facts, pairs[-1])
        assert mine == theirs
