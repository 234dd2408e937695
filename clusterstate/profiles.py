"""Profiles: the web app's side. Asking nodes to look into processes, and what came of it, for as long as it is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from clusterstate.probes import PROFILE_KEPT_S
from clusterstate.profile_answers import ProfileProgress, StacksPart, read
from clusterstate.settings import Settings
from clusterstate.stacks import MOST_BYTES, Unreadable
from clusterstate.store import profiles as kept
from clusterstate.store import queues
from clusterstate.store.connection import store_errors
from clusterstate.store.profiles import Asked, Busy, Option, Outcome, Profile, Target
from clusterstate.store.queues import Answer, QueueFull
from clusterstate.store.signing import master_key

__all__ = [
    "CENSUS", "CPU", "GPU", "JAX", "KINDS", "MEMORY", "MERGED", "RECORDED", "SAMPLED", "STACKS", "TRACED",
    "Asked", "Busy", "Option", "Profile", "Profiles", "Question", "Target",
]  # fmt: skip

STACKS, CPU, MEMORY, GPU, JAX, CENSUS, MERGED = "stacks", "cpu", "memory", "gpu", "jax", "census", "merged"
KINDS = (STACKS, CPU, MEMORY, GPU, JAX, CENSUS, MERGED)
SAMPLED = frozenset({CPU, MEMORY, MERGED})
"""Samples are told: a flame graph, which can be compared, and kept when it is stopped before its time."""
TRACED = frozenset({GPU, JAX})
"""A gzip Chrome trace is told, at the end or not at all."""
RECORDED = SAMPLED | TRACED
"""Answered by a ProfileProgress."""
SHORT = frozenset({STACKS})
"""Take no place among the few that a host makes at a time."""
PARTS_AT_ONCE = 16
"""Read of what was told before it is seen whether that is too much."""
DAY_S = 24 * 3600


@dataclass(frozen=True)
class Question:
    """A probe for a host, of some of a profile's targets."""

    host: str
    probe: Any
    targets: tuple[int, ...]  # places in the profile's targets


@dataclass(frozen=True)
class Standing:
    """How far a question of a profile is."""

    asked: Asked
    answer: Answer | None  # None: it was not asked, or nobody knows of it any more

    @property
    def is_final(self) -> bool:
        return self.answer is None or self.answer.is_final

    @property
    def progress(self) -> ProfileProgress | None:
        """What a recording probe answered. Raises Unreadable."""
        if self.answer is None or self.answer.state != queues.DONE:
            return None
        found: ProfileProgress = read(self.answer.value, ProfileProgress)
        return found


class Profiles:
    """Methods raise StoreUnavailable when Redis is away."""

    def __init__(self, settings: Settings, redis_connect: Callable[[], redis.Redis]) -> None:
        self._settings = settings
        self._connect = redis_connect
        self._master_key = master_key(settings.state_dir)
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()

    def start(self, profile: Profile, questions: Iterable[Question], now: float) -> Profile:
        """Keeps what is asked, asks, and forgets what is too old or too much. Raises Busy where nothing could be asked for that."""
        asked = [(question, Asked(question.host, question.targets, queues.new_job_id(question.host))) for question in questions]
        whole = msgspec.structs.replace(profile, asked=(*profile.asked, *(one for _, one in asked)))
        with store_errors():
            client = self._redis()
            kept.keep(client, whole)  # before anything runs: whatever breaks, it is found and can be ended
            busy: Busy | None = None
            answers: list[Asked] = []
            for question, one in asked:
                try:
                    answers.append(self._ask(client, profile, question, one, now))
                except Busy as why:
                    busy = why
                    answers.append(Asked(question.host, question.targets, problem=str(why)))
            whole = msgspec.structs.replace(profile, asked=(*profile.asked, *answers))
            if busy is not None and all(one.probe_id is None for one in whole.asked):
                kept.delete(client, [whole])
                raise busy
            kept.keep(client, whole)
            kept.delete_beyond(client, profile.cluster, self._settings.max_profiles, self._oldest(now), now, SHORT)
        return whole

    def get(self, cluster: str, profile_id: str) -> Profile | None:
        """None if there is none, or none any more."""
        with store_errors():
            found = kept.get(self._redis(), cluster, profile_id)
        return found if found is not None and found.asked_at >= self._oldest(time.time()) else None

    def newest(self, cluster: str, most: int) -> list[Profile]:
        """The newest first."""
        with store_errors():
            found = kept.newest(self._redis(), cluster, most)
        oldest = self._oldest(time.time())
        return [one for one in found if one.asked_at >= oldest]

    def count(self, cluster: str) -> int:
        """How many are kept."""
        with store_errors():
            return kept.count(self._redis(), cluster)

    def note_outcome(self, profile: Profile, state: str, samples: int | None) -> None:
        """It has ended: lists need not look at what was told any more."""
        with store_errors():
            kept.note_outcome(self._redis(), msgspec.structs.replace(profile, outcome=Outcome(state, samples)))

    def delete(self, profile: Profile) -> None:
        """With all that was told."""
        self.cancel(profile)
        with store_errors():
            kept.delete(self._redis(), [profile])

    def standing(self, profile: Profile) -> tuple[Standing, ...]:
        """How far each question is. A round trip for each."""
        with store_errors():
            return tuple(self._standing(one) for one in profile.asked)

    def wait(self, profile: Profile, within_s: float) -> None:
        """Until all is answered, or that long."""
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up and not all(one.is_final for one in self.standing(profile)):
            time.sleep(0.01)

    def packed(self, asked: Asked) -> bytes:
        """What a question's recording counted: clusterstate.stacks unpacks it. Raises Unreadable."""
        return b"".join(self._parts(asked))

    def stacks(self, asked: Asked) -> list[StacksPart]:
        """What a question told of stacks so far. Raises Unreadable."""
        try:
            return [msgspec.json.decode(part, type=StacksPart) for part in self._parts(asked)]
        except msgspec.DecodeError as error:
            raise Unreadable(str(error)[:200]) from None

    def cancel(self, profile: Profile) -> None:
        """Ends what still runs; what it has is lost."""
        with store_errors():
            for one in profile.asked:
                if one.probe_id is not None:
                    queues.cancel(self._redis(), one.probe_id, PROFILE_KEPT_S)

    def stop(self, profile: Profile) -> None:
        """Ends what still runs; what was sampled until now is kept."""
        with store_errors():
            for one in profile.asked:
                if one.probe_id is not None:
                    queues.stop(self._redis(), one.probe_id)

    def _oldest(self, now: float) -> float:
        return now - self._settings.profile_retention_days * DAY_S

    def _ask(self, client: redis.Redis, profile: Profile, question: Question, asked: Asked, now: float) -> Asked:
        host, probe, probe_id = question.host, question.probe, asked.probe_id or ""
        if not queues.is_answered(client, type(probe).queue, profile.cluster, host):
            return Asked(host, question.targets, problem=f"Nobody answers on {host}: its {type(probe).queue} worker does not run.")
        if profile.kind not in SHORT:
            until = now + queues.START_WITHIN_S + type(probe).time_limit_s
            pids = tuple(profile.targets[place].pid for place in question.targets)
            kept.take_place(client, profile.cluster, host, probe_id, pids, now, until)
        try:
            queues.ask(client, self._master_key, probe, profile.cluster, host, now, probe_id)
        except QueueFull as why:
            kept.leave_place(client, profile.cluster, host, probe_id)
            return Asked(host, question.targets, problem=str(why))
        except BaseException:
            kept.leave_place(client, profile.cluster, host, probe_id)
            raise
        return asked

    def _standing(self, asked: Asked) -> Standing:
        return Standing(asked, None if asked.probe_id is None else queues.answer(self._redis(), asked.probe_id, time.time()))

    def _parts(self, asked: Asked) -> list[bytes]:
        if asked.probe_id is None:
            return []
        found: list[bytes] = []
        size = 0
        with store_errors():
            while parts := queues.parts_of(self._redis(), asked.probe_id, len(found), len(found) + PARTS_AT_ONCE - 1):
                found += parts
                size += sum(map(len, parts))
                if size > MOST_BYTES:
                    raise Unreadable(f"It is larger than {MOST_BYTES} bytes.")
        return found

    def _redis(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client
