"""Questions that Ray's own clients put to the dashboard's address about tasks, on their way to the cluster collector and back.

The collector has the connection to the GCS. A question and its answer are Ray's protobuf messages, which neither this module
nor the web app reads.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import msgspec
import redis

from clusterstate.store import keys
from clusterstate.store.connection import store_errors

ANSWER_WITHIN_S = 30.0
ANSWER_KEPT_S = 60
QUEUE_LIMIT = 20
LOOK_EVERY_S = 0.05
MAX_QUESTION_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""100,000 attempts, all that a GCS keeps, are 87 MB."""


class TaskQueryFailed(Exception):
    """There is no answer; the message says why."""


class Question(msgspec.Struct, array_like=True):
    """As it lies in the queue. `asked_at`: Unix seconds."""

    id: str
    asked_at: float
    body: bytes


class Reply(msgspec.Struct, array_like=True):
    body: bytes
    problem: str | None = None


def ask(client: redis.Redis, cluster: str, body: bytes, clock: Callable[[], float] = time.time) -> bytes:
    """The GCS's reply to a GetTaskEventsRequest. Raises TaskQueryFailed, StoreUnavailable."""
    question = Question(secrets.token_hex(12), clock(), body)
    with store_errors():
        if int(client.llen(keys.task_questions(cluster))) >= QUEUE_LIMIT:
            raise TaskQueryFailed(f"{QUEUE_LIMIT} questions wait for the cluster collector already.")
        pipe = client.pipeline(transaction=True)
        pipe.rpush(keys.task_questions(cluster), msgspec.msgpack.encode(question))
        pipe.expire(keys.task_questions(cluster), ANSWER_KEPT_S)
        pipe.execute()
        until = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
            stored = client.getdel(keys.answer(question.id))
            if isinstance(stored, bytes):
                reply = msgspec.msgpack.decode(stored, type=Reply)
                if reply.problem is not None:
                    raise TaskQueryFailed(reply.problem)
                return reply.body
    raise TaskQueryFailed("The cluster collector did not answer in time.")


def next_question(client: redis.Redis, cluster: str, now: float, wait_s: float) -> Question | None:
    """One that somebody still waits for. Waits for one, at most so long."""
    found = client.blpop([keys.task_questions(cluster)], timeout=wait_s)
    if not isinstance(found, (list, tuple)) or not isinstance(found[1], bytes):
        return None
    try:
        question = msgspec.msgpack.decode(found[1], type=Question)
    except msgspec.MsgspecError:
        return None
    is_asked = len(question.body) <= MAX_QUESTION_BYTES and abs(now - question.asked_at) <= ANSWER_WITHIN_S
    return question if is_asked and question.id.isalnum() and len(question.id) <= 64 else None


def answer(client: redis.Redis, question: Question, reply: Reply) -> None:
    """Leaves the reply for whoever asked."""
    if len(reply.body) > MAX_ANSWER_BYTES:
        reply = Reply(b"", f"The answer is larger than {MAX_ANSWER_BYTES} bytes. Ask for one job, or with a limit.")
    client.set(keys.answer(question.id), msgspec.msgpack.encode(reply), ex=ANSWER_KEPT_S)
