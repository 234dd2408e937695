"""Answers what Ray's own clients ask the dashboard's address about tasks, by asking the GCS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from clusterstate.store import task_queries
from clusterstate.store.connection import UNREACHABLE
from clusterstate.store.task_queries import Question, Reply
from workers.sources import gcs_stubs
from workers.sources.gcs import GcsError

if TYPE_CHECKING:
    import redis

    from workers.collectors.cluster_watch import Watch

WAIT_S = 1.0
RETRY_S = 1.0
MIN_S = 0.5
REDIS_MAY_TAKE_S = 10.0
"""An answer is 87 MB at most."""


class TaskQuestions:
    """One at a time: each may take the GCS two seconds."""

    def __init__(self, watch: Watch, client: redis.Redis) -> None:
        self._watch = watch
        self._client = client  # waits longer for Redis than WAIT_S, and than a big answer takes to be sent

    async def run(self) -> None:
        """For ever."""
        cluster, now = self._watch.store.cluster, self._watch.now
        while True:
            try:
                question = await asyncio.to_thread(task_queries.next_question, self._client, cluster, now(), WAIT_S)
                if question is not None:
                    reply = await self._reply(question, task_queries.ANSWER_WITHIN_S - (now() - question.asked_at))
                    await asyncio.to_thread(task_queries.answer, self._client, question, reply)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_S)

    async def _reply(self, question: Question, within_s: float) -> Reply:
        method = gcs_stubs.method("GetTaskEvents")
        request = gcs_stubs.parse_or_none(method.request, question.body)
        if request is None:
            return Reply(b"", "This is no GetTaskEventsRequest.")
        try:
            return Reply(await self._watch.gcs.call_raw(method, request, max(MIN_S, within_s)))
        except GcsError as problem:
            return Reply(b"", str(problem))
