"""Placement groups of a cluster: polled, because Ray does not publish them. Removed ones are kept for a while."""

from __future__ import annotations

from collections.abc import Sequence

from clusterstate.model import PlacementGroup
from clusterstate.resources import PLACEMENT_GROUPS
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_watch import Watch
from workers.sources.gcs_decode import placement_group_of, removed_placement_group
from workers.sources.gcs_wire import Unchanged

MAX_REMOVED = 10_000
"""Removed placement groups kept per session. The GCS itself remembers 1,000 or so."""


class PlacementGroups:
    """Knows which placement groups are there and in which order the others went."""

    def __init__(self, watch: Watch) -> None:
        self.present: set[str] = set()
        self.removed: dict[str, None] = {}  # oldest first
        self._seen = Unchanged()
        self._watch = watch

    async def load(self) -> None:
        """What is kept from before."""

        def kept(writer: SessionWriter) -> list[PlacementGroup]:
            return sorted(writer.rows(PLACEMENT_GROUPS), key=lambda group: group.creation_request_received_ms or 0)

        for group in await self._watch.store.run(kept):
            self._note(group)

    async def poll(self) -> None:
        started = self._watch.now()
        rows = await self._watch.gcs.all_placement_groups()
        changed = [group for group in map(placement_group_of, self._seen.changed(rows)) if group.placement_group_id]
        listed = {message.placement_group_id.hex() for message in rows}
        gone = sorted(self.present - listed)
        if changed or gone:
            await self._watch.store.run(lambda writer: self._write(writer, changed, gone))
        self._seen.commit()
        self._watch.sources.unreadable("placement_groups", rows.unreadable)
        self._watch.sources.right("placement_groups", started)

    def _write(self, writer: SessionWriter, changed: Sequence[PlacementGroup], gone: Sequence[str]) -> None:
        left = [removed_placement_group(group) for group in writer.get(PLACEMENT_GROUPS, gone) if group is not None] if gone else []
        self.present.difference_update(gone)
        for group in [*changed, *left]:
            self._note(group)
        now = self._watch.now()
        writer.record(PLACEMENT_GROUPS, [*changed, *left], now)
        surplus = list(self.removed)[: max(0, len(self.removed) - MAX_REMOVED)]
        if surplus:
            writer.forget(PLACEMENT_GROUPS, surplus, now)
            for placement_group_id in surplus:
                del self.removed[placement_group_id]

    def _note(self, group: PlacementGroup) -> None:
        if group.state == "REMOVED":
            self.present.discard(group.placement_group_id)
            self.removed.setdefault(group.placement_group_id)
        else:
            self.removed.pop(group.placement_group_id, None)
            self.present.add(group.placement_group_id)
