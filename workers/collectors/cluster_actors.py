"""Actors of a cluster: one snapshot, then what is published, joined with what is kept; the living are listed anew now and then.

Dead actors are in Redis alone: this process holds the ids of the living.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clusterstate.model import Actor
from clusterstate.resources import ACTORS
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_polls import Touched
from workers.collectors.cluster_watch import ASKED_AT_ONCE, RESOLVED_A_TIME, Watch
from workers.sources.gcs import GcsError, gather_bounded
from workers.sources.gcs_decode_actors import AMOUNTS, actor_of, lost_actor, merge_actor

LIVE_STATES = ("ALIVE", "PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING")
DETAILS_A_TIME = 5
"""Single actors asked for after a batch: of 0.3 ms each, ten batches a second at most."""
DETAILS_WAITING = 5000


class Actors:
    """Knows which actors live."""

    def __init__(self, watch: Watch) -> None:
        self.live: set[str] = set()
        self.touched = Touched()
        self.evicted = 0
        self._watch = watch
        self._wanted: dict[str, None] = {}  # started with slots of a resource: which ones is not published
        self._died = 0

    async def snapshot(self) -> None:
        """Everything that the GCS remembers, then the ends of actors that it forgot while nobody watched."""

        def alive(writer: SessionWriter) -> set[str]:
            return {actor.actor_id for actor in writer.rows(ACTORS) if actor.state != "DEAD"}

        before = await self._watch.store.run(alive)
        rows = await self._watch.gcs.all_actors()
        living = {actor.actor_id: actor for actor in await self._living()}
        dead_before: set[str] = set()
        await self._watch.store.record(ACTORS, self._decoded(rows.by("end_time"), living, before, dead_before), self._watch.now())
        await self._resolve(before - self.live - dead_before)
        await self.trim()
        self._watch.sources.unreadable("actors", rows.unreadable)

    async def repair(self) -> None:
        """The living, state by state (1.6 ms each beside 100,000 dead ones): whole rows where messages hold parts."""
        started = self._watch.now()
        with self.touched.watched() as newer:
            found = await self._living()
            listed = {actor.actor_id for actor in found}
            gone = self.live - listed - newer
            await self._record([actor for actor in found if actor.actor_id and actor.actor_id not in newer])
            await self._resolve(gone)
        self._watch.sources.right("actors", started)

    async def apply(self, published: Sequence[tuple[str, Any]]) -> None:
        """Messages in order, as (actor id, message)."""

        def merge(writer: SessionWriter) -> None:
            ids = sorted({actor_id for actor_id, _ in published})
            rows: dict[str, Actor | None] = dict(zip(ids, writer.get(ACTORS, ids), strict=True))
            for actor_id, message in published:
                rows[actor_id] = merge_actor(rows[actor_id], actor_of(message, actor_id))
            merged = [actor for actor in rows.values() if actor is not None]
            for actor in merged:
                self._note(actor)
            writer.record(ACTORS, merged, self._watch.now())

        await self._watch.store.run(merge)

    async def details(self) -> None:
        """Whole rows of a few actors that just started."""
        if not self._wanted:
            return
        ids = list(self._wanted)[:DETAILS_A_TIME]
        for actor_id in ids:
            del self._wanted[actor_id]
        with self.touched.watched() as newer:
            replies = await gather_bounded((self._watch.gcs.actor(actor_id) for actor_id in ids), ASKED_AT_ONCE)
        rows = [actor_of(reply) for reply in replies if reply is not None and not isinstance(reply, GcsError)]
        await self._record([actor for actor in rows if actor.actor_id and actor.actor_id not in newer])

    async def trim(self) -> None:
        """Gives up the oldest dead over the limit."""
        limit = self._watch.settings.max_dead_actors
        self._died = 0
        self.evicted = await self._watch.store.run(lambda writer: writer.trim_dead(ACTORS, limit, self._watch.now()))

    async def trim_if_any_died(self) -> None:
        if self._died:
            await self.trim()

    async def _living(self) -> list[Actor]:
        found: list[Actor] = []
        for state in LIVE_STATES:
            found.extend(map(actor_of, await self._watch.gcs.actors_in_state(state)))
        return found

    def _decoded(self, rows: Iterable[Any], living: dict[str, Actor], before: set[str], dead_before: set[str]) -> Iterator[Actor]:
        """`living` knows better than the table what state the living are in."""
        for message in rows:
            actor = actor_of(message)
            if not actor.actor_id:
                continue
            if actor.state != "DEAD":
                actor = living.get(actor.actor_id, actor)
                self.live.add(actor.actor_id)
            elif actor.actor_id in before:
                dead_before.add(actor.actor_id)
            yield actor

    async def _record(self, actors: Sequence[Actor]) -> None:
        for actor in actors:
            self._note(actor, whole=True)
        if actors:
            await self._watch.store.record(ACTORS, actors, self._watch.now())

    def _note(self, actor: Actor, whole: bool = False) -> None:
        if actor.state == "DEAD":
            self.live.discard(actor.actor_id)
            self._wanted.pop(actor.actor_id, None)
            self._died += 1
            return
        self.live.add(actor.actor_id)
        slots = actor.required_resources.keys() - AMOUNTS
        if not whole and actor.state == "ALIVE" and (slots or actor.num_restarts) and len(self._wanted) < DETAILS_WAITING:
            self._wanted[actor.actor_id] = None

    async def _resolve(self, ids: Iterable[str]) -> None:
        """What became of these actors, asked one by one. One that the GCS does not know has ended."""
        wanted = sorted(ids)[:RESOLVED_A_TIME]
        if not wanted:
            return
        replies = await gather_bounded((self._watch.gcs.actor(actor_id) for actor_id in wanted), ASKED_AT_ONCE)
        found = [actor_of(reply) for reply in replies if reply is not None and not isinstance(reply, GcsError)]
        unknown = [actor_id for actor_id, reply in zip(wanted, replies, strict=True) if reply is None]

        def lost(writer: SessionWriter) -> list[Actor]:
            return [lost_actor(actor) for actor in writer.get(ACTORS, unknown) if actor is not None]

        for actor_id in unknown:
            self.live.discard(actor_id)
        await self._record(found + await self._watch.store.run(lost))
