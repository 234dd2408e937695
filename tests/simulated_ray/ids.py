"""Ids as Ray makes them: random bytes, the job's at the end where a job made the thing, all ones for none."""

from __future__ import annotations

from random import Random

JOB_BYTES = 4
ACTOR_BYTES = 16
PLACEMENT_GROUP_BYTES = 18
UNIQUE_BYTES = 28  # nodes, workers, subscribers, publishers, clusters
NIL_JOB = b"\xff" * JOB_BYTES
NIL_ACTOR = b"\xff" * ACTOR_BYTES
NIL_UNIQUE = b"\xff" * UNIQUE_BYTES


def unique(random: Random) -> bytes:
    """A node's, worker's or cluster's id."""
    return random.randbytes(UNIQUE_BYTES)


def job(number: int) -> bytes:
    """The id of the n-th job; Ray counts little-endian: job 1 is 01000000."""
    return number.to_bytes(JOB_BYTES, "little")


def actor(random: Random, job_id: bytes) -> bytes:
    """An actor's id, which ends in its job's."""
    return random.randbytes(ACTOR_BYTES - JOB_BYTES) + job_id


def placement_group(random: Random, job_id: bytes) -> bytes:
    """A placement group's id, which ends in its job's."""
    return random.randbytes(PLACEMENT_GROUP_BYTES - JOB_BYTES) + job_id


def driver_worker(job_id: bytes) -> bytes:
    """A driver's worker id: its job's id, then all ones."""
    return job_id + b"\xff" * (UNIQUE_BYTES - JOB_BYTES)


def to_bytes(text: str | bytes) -> bytes:
    """An id as bytes, given as hex digits or bytes."""
    return bytes.fromhex(text) if isinstance(text, str) else text
