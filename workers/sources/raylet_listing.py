"""What a raylet of this machine lists now, asked by a probe: two calls, and nothing stays open."""

from __future__ import annotations

import os
import time
from typing import TypeVar

from workers.sources.gcs import GcsError
from workers.sources.profile_targets import Raylet
from workers.sources.raylet import NodeLookup, Question, RayletClient, ray_credentials

T = TypeVar("T")
LOOKUP_WITHIN_S = 1.0
ANSWER_WITHIN_S = 1.0
"""A raylet mostly answers within 10 ms. One of its workers that is stopped holds it up: then its own children count."""
LOOK_EVERY_S = 0.001
DRIVER = "DRIVER"


def listed_by(raylet: Raylet) -> dict[int, bool] | None:
    """pid → whether it is a driver. None: the raylet, or the GCS that knows where it listens, does not answer."""
    address = raylet.flags.gcs_address
    if not address:
        return None
    try:
        credentials = ray_credentials(os.environ)
    except GcsError:
        return None
    lookup = NodeLookup(address, [raylet.flags.node_id], credentials)
    try:
        found = _answer(lookup, LOOKUP_WITHIN_S)
    finally:
        lookup.close()
    at = (found or {}).get(raylet.flags.node_id)
    if at is None or not at.is_alive or not at.port:
        return None
    client = RayletClient(at.address, at.port, credentials)
    try:
        stats = _answer(client, ANSWER_WITHIN_S)
    finally:
        client.close()
    return None if stats is None else {pid: worker.worker_type == DRIVER for pid, worker in stats.workers.items()}


def _answer(question: Question[T], within_s: float) -> T | None:
    give_up = time.monotonic() + within_s
    question.ask()
    while not question.look(time.time()):
        if time.monotonic() > give_up:
            return None
        time.sleep(LOOK_EVERY_S)
    return question.answer
