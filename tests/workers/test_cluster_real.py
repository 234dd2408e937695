"""The cluster collector against a real Ray cluster of two raylets, with and without token authentication."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from clusterstate.resources import NODE_RESOURCES, STATUS
from clusterstate.settings import Settings
from tests.workers.collecting import collecting, eventually
from tests.workers.real_ray_cluster import real_ray

pytestmark = pytest.mark.ray

WORKLOAD = """
from ray.util.placement_group import placement_group
@ray.remote(num_cpus=0.1)
class Counter:
    def ready(self): return True
    def leave(self): os._exit(3)
@ray.remote(num_cpus=0.1)
class Broken:
    def __init__(self): raise ValueError('boom')
named = Counter.options(name='named').remote()
phoenix = Counter.options(name='phoenix', num_gpus=1, max_restarts=1).remote()
ray.get([named.ready.remote(), phoenix.ready.remote()])
broken = Broken.options(name='broken').remote()
group = placement_group([{'CPU': 0.2}], name='small'); ray.get(group.ready())
never = placement_group([{'CPU': 50}], strategy='SPREAD', name='too big')
impossible = Counter.options(name='impossible', num_cpus=99).remote()
phoenix.leave.remote()
ray.kill(named)
time.sleep(60)
"""


@pytest.mark.parametrize("token", [None, "a-token-of-this-test"], ids=["without token", "with token"])
def test_a_real_cluster_is_followed(redis_client: redis.Redis, settings: Settings, token: str | None) -> None:
    with real_ray(token) as ray, collecting(redis_client, replace(settings, poll_interval_s=0.5), ray.address, ray.environ) as seen:
        eventually(lambda: seen.as_of("actors"))
        ray.start_driver(WORKLOAD)

        def named(name: str) -> Any:
            return next((actor for actor in seen.actors.values() if actor.name == name), None)

        killed = eventually(lambda: (row := named("named")) and row.state == "DEAD" and row, within_s=40)
        broken = eventually(lambda: (row := named("broken")) and row.state == "DEAD" and row)
        again = eventually(lambda: (row := named("phoenix")) and row.num_restarts == 1 and row.state == "ALIVE" and row)
        waiting = eventually(lambda: (row := named("impossible")) and row)
        groups = eventually(lambda: len(seen.groups) == 2 and {group.name: group for group in seen.groups.values()})
        [job] = seen.jobs.values()
        metadata = seen.metadata()

        assert metadata is not None
        assert metadata.token_auth is (token is not None)
        assert (killed.class_name, killed.death_cause, killed.ray_namespace) == ("Counter", "RAY_KILL", "tests")
        assert broken.death_cause == "CREATION_TASK_FAILED"
        assert "ValueError: boom" in broken.exit_detail
        assert eventually(lambda: named("phoenix").resource_mapping) == {"GPU": [0]}
        assert again.required_resources == {"CPU": 0.1, "GPU": 1.0}
        assert waiting.state == "PENDING_CREATION"
        assert groups["small"].state == "CREATED"
        assert (groups["too big"].state, groups["too big"].strategy) == ("PENDING", "SPREAD")
        assert (job.type, job.status, job.ray_namespace, job.is_internal) == ("DRIVER", "RUNNING", "tests", False)
        demands = eventually(lambda: len((status := seen.rows(STATUS)[""]).demands) == 2 and status.demands)
        assert {(demand.kind, demand.shape["CPU"], demand.strategy) for demand in demands} == {
            ("TASK_ACTOR", 99.0, None),
            ("PLACEMENT_GROUP", 50.0, "SPREAD"),
        }
        assert {worker.worker_type for worker in seen.workers.values()} == {"WORKER", "DRIVER"}
        assert any(worker.exit_type == "USER_ERROR" for worker in seen.workers.values())
        assert seen.report is not None
        assert seen.report.pubsub_supported
        assert seen.report.problems == []

        ray.stop_drivers()
        eventually(lambda: seen.jobs[job.job_key].status == "SUCCEEDED")
        eventually(lambda: all(actor.state == "DEAD" for actor in seen.actors.values()))
        [second] = [node.node_id for node in seen.nodes.values() if not node.is_head_node]
        ray.kill_second_node()
        dead = eventually(lambda: (row := seen.nodes[second]).state == "DEAD" and row, within_s=40)
        assert dead.state_message.startswith("Unexpected termination")
        eventually(lambda: second not in seen.rows(NODE_RESOURCES))
        eventually(lambda: not any(worker.is_alive and worker.node_id == second for worker in seen.workers.values()))
