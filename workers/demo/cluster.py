"""The demo's Ray cluster: two raylets of this machine on loopback, under one keeper."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

OBJECT_STORE_BYTES = 80 * 1024 * 1024
HEAD: dict[str, Any] = {
    "num_cpus": 2,
    "resources": {"licence": 2, "ssd": 100},
    "labels": {"zone": "a", "disk": "ssd", "team": "platform"},
}
SECOND: dict[str, Any] = {
    "num_cpus": 1,
    "resources": {"camera": 2},
    "labels": {"zone": "b", "disk": "hdd", "team": "vision"},
}

logger = logging.getLogger(__name__)


class TwoNodes:
    """Starts and stops Ray's processes as children of this one; they die with it (kernel parent-death signal).

    Call from the main thread: that signal is bound to the thread that started a process.
    """

    def __init__(self) -> None:
        # Here, because Ray reads its environment when it is imported.
        import ray._private.utils
        from ray.cluster_utils import Cluster

        # Each node would put a SIGTERM handler of its own into this process, which drains for up to 30 s.
        ray._private.utils.set_sigterm_handler = _keep_handler
        common = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False, "dashboard_agent_listen_port": 0}
        self._second_arguments = {**common, **SECOND}
        self._cluster = Cluster(initialize_head=True, head_node_args={**common, **HEAD})
        self._second: Any = self._cluster.add_node(**self._second_arguments)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def session_dir(self) -> str:
        return str(self._cluster.head_node.get_session_dir_path())

    @property
    def pids(self) -> list[int]:
        """Processes that Ray started for its nodes, as far as they are its direct children."""
        nodes = [self._cluster.head_node, self._second]
        return sorted(info.process.pid for node in nodes if node is not None for infos in node.all_processes.values() for info in infos)

    def head_is_alive(self) -> bool:
        """Without its GCS or head raylet the cluster has ended: it has no store outside."""
        return not any(kind in {"gcs_server", "raylet"} for kind, _ in self._cluster.head_node.dead_processes())

    def second_is_alive(self) -> bool:
        return self._second is not None and not any(kind == "raylet" for kind, _ in self._second.dead_processes())

    def remove_second(self) -> None:
        """Clear up after a second raylet that died."""
        if self._second is not None:
            with contextlib.suppress(AssertionError, OSError):  # Ray asserts that nothing is left; the sweep makes sure
                self._cluster.remove_node(self._second, allow_graceful=False)
            self._second = None

    def add_second(self) -> None:
        """A new node in its place, as an autoscaler would bring."""
        self._second = self._cluster.add_node(**self._second_arguments)

    def stop(self) -> None:
        """About 1.2 s."""
        with contextlib.suppress(AssertionError, OSError):
            self._cluster.shutdown()


def _keep_handler(handler: object) -> None:
    """The keeper's own handler stays."""
