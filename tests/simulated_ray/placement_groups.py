"""Placement groups of a simulated cluster. Ray has no pubsub channel for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulated_ray import ids, texts
from tests.simulated_ray.actors import Actors
from tests.simulated_ray.wire import fill, known

STATES = ("PENDING", "PREPARED", "CREATED", "REMOVED", "RESCHEDULING")


class PlacementGroups(Actors):
    """Creates and removes placement groups."""

    def add_placement_group(
        self,
        bundles: Sequence[dict[str, float]] = ({"CPU": 1.0}, {"CPU": 1.0}),
        *,
        state: str = "CREATED",
        job_id: str | None = None,
        **fields: Any,
    ) -> str:
        """A placement group is asked for; each bundle of a CREATED one gets a node. Returns its placement_group_id."""
        with self.lock:
            job = bytes.fromhex(job_id) if job_id else self._any_job()
            group_id = ids.to_bytes(fields.pop("placement_group_id", None) or ids.placement_group(self.random, job))
            row = self.placement_groups.message(placement_group_id=group_id, creator_job_id=job)
            fill(row, known(row, self._default_group(group_id, bundles, state)))
            raw = fill(row, fields)
            self.placement_groups.put(group_id, row, raw)
            return group_id.hex()

    def set_placement_group(self, placement_group_id: str, **fields: Any) -> None:
        """Change any fields of a placement group (PlacementGroupTableData)."""
        with self.lock:
            key = bytes.fromhex(placement_group_id)
            row = self.placement_groups.get(key)
            raw = fill(row, fields)
            self.placement_groups.put(key, row, raw)

    def remove_placement_group(self, placement_group_id: str) -> None:
        """The group is removed; Ray keeps it in the table for a while."""
        self.set_placement_group(placement_group_id, state="REMOVED")

    def forget_placement_group(self, placement_group_id: str) -> None:
        with self.lock:
            self.placement_groups.remove(bytes.fromhex(placement_group_id))

    def placement_group_ids(self, state: str = "CREATED") -> list[str]:
        with self.lock:
            return [group_id.hex() for group_id in self.placement_groups.in_state(STATES.index(state))]

    def _default_group(self, group_id: bytes, bundles: Sequence[dict[str, float]], state: str) -> dict[str, Any]:
        now = self.now_ms()
        placed = state in ("CREATED", "PREPARED")
        nodes = [self._any_node() if placed else b"" for _ in bundles]
        rows = [
            {"bundle_id": {"placement_group_id": group_id, "bundle_index": i}, "unit_resources": bundle, "node_id": node}
            for i, (bundle, node) in enumerate(zip(bundles, nodes, strict=True))
        ]
        return {
            "name": self.random.choice(texts.PLACEMENT_GROUP_NAMES),
            "bundles": rows,
            "strategy": self.random.choice(("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")),
            "state": state,
            "creator_actor_id": ids.NIL_ACTOR,
            "creator_actor_dead": True,
            "ray_namespace": "default",
            "stats": {
                "creation_request_received_ns": now * 1_000_000,
                "scheduling_started_time_ns": now * 1_000_000 + 130_000,
                "scheduling_latency_us": 3711 if placed else 0,
                "end_to_end_creation_latency_us": 3844 if placed else 0,
                "scheduling_attempt": 1,
                "scheduling_state": "FINISHED" if placed else "INFEASIBLE",
            },
            "soft_target_node_id": ids.NIL_UNIQUE,
            "placement_group_creation_timestamp_ms": now,
            "placement_group_final_bundle_placement_timestamp_ms": now + 4 if placed else 0,
        }
