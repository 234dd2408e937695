"""Profiles that were asked for: who asked for which processes, and the probes that each became. What they told is in the probes' own keys.

Kept until they are removed, are too many or too old: a probe that records keeps what it tells as long as a profile may be kept.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, TypeAlias

import msgspec
import redis
from redis.exceptions import WatchError

from clusterstate.probes import PROFILE_KEPT_S, PROFILES_AT_ONCE
from clusterstate.store import keys, queues

PLACES_KEPT_S = 3600
"""More than any probe takes: each place says itself until when it is taken."""
LOOKED_THROUGH = 200
"""Of the oldest, for those that are to go first."""
SPARED = 20
"""Of the newest short ones: somebody may be looking at them."""
RUNS_AT_MOST_S = 700.0
"""With a wait for its turn: no profile is made for longer."""
TRIES = 20
Option: TypeAlias = bool | int | str


class Busy(Exception):
    """The process is profiled already, or as many others of its host as may be; the message says which."""


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process that was to be looked into, as it was known then."""

    node_id: str
    pid: int
    started_ms: int
    kind: str = ""  # WORKER, DRIVER, RAYLET, ...
    label: str = ""  # its title, or the name of its actor
    class_name: str | None = None  # of its actor
    worker_id: str | None = None
    actor_id: str | None = None
    job_id: str | None = None


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question that was put to a host, or why none was."""

    host: str
    targets: tuple[int, ...]  # places in the profile's targets
    probe_id: str | None = None
    problem: str | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it ended, for lists: what was told may be megabytes."""

    state: str
    samples: int | None = None


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody asked for."""

    profile_id: str
    cluster: str
    session: str
    kind: str  # one of clusterstate.profiles.KINDS
    who: str
    asked_at: float
    about: str  # in words: the worker, actor, task, job or node
    targets: tuple[Target, ...] = ()
    asked: tuple[Asked, ...] = ()
    options: dict[str, Option] = {}
    of: dict[str, str] = {}  # what it was asked of, as a URL names it: {"worker": id}
    left_out: int = 0  # processes beyond those that are asked at once
    outcome: Outcome | None = None  # None: nobody has seen its end yet


def keep(client: redis.Redis, profile: Profile) -> None:
    """One round trip."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys.profile(profile.cluster, profile.profile_id), msgspec.json.encode(profile), ex=PROFILE_KEPT_S)
        pipe.zadd(keys.profiles(profile.cluster), {profile.profile_id: profile.asked_at})
        pipe.expire(keys.profiles(profile.cluster), PROFILE_KEPT_S)
        pipe.execute()


def note_outcome(client: redis.Redis, profile: Profile) -> None:
    """Of one that is still there. One round trip."""
    client.set(keys.profile(profile.cluster, profile.profile_id), msgspec.json.encode(profile), xx=True, keepttl=True)


def get(client: redis.Redis, cluster: str, profile_id: str) -> Profile | None:
    """None if there is none, or none any more. One round trip."""
    return _read(client.get(keys.profile(cluster, profile_id)))


def newest(client: redis.Redis, cluster: str, most: int) -> list[Profile]:
    """The newest first. Two round trips."""
    ids = client.zrevrange(keys.profiles(cluster), 0, most - 1)
    if not ids:
        return []
    found = client.mget([keys.profile(cluster, _text(one)) for one in ids])
    return [profile for profile in map(_read, found) if profile is not None]


def count(client: redis.Redis, cluster: str) -> int:
    """How many are kept. One round trip."""
    return int(client.zcard(keys.profiles(cluster)))


def delete(client: redis.Redis, profiles: Iterable[Profile]) -> None:
    """Removes them with all that was told. One round trip."""
    with client.pipeline(transaction=True) as pipe:
        for profile in profiles:
            probe_ids = [one.probe_id for one in profile.asked if one.probe_id is not None]
            told = (key for probe_id in probe_ids for key in (keys.answer(probe_id), keys.answer_parts(probe_id)))
            pipe.delete(keys.profile(profile.cluster, profile.profile_id), *told)
            for one in profile.asked:
                if one.probe_id is not None:
                    pipe.hdel(keys.profiling(profile.cluster, one.host), one.probe_id)
            pipe.zrem(keys.profiles(profile.cluster), profile.profile_id)
        pipe.execute()


def delete_beyond(client: redis.Redis, cluster: str, most: int, oldest: float, now: float, short: Container[str]) -> int:
    """Removes those that are too many or were asked for before `oldest`; returns how many. A few round trips.

    Of too many the oldest of the kinds `short` go first, which are quickly made anew. Others that may still run stay.
    """
    everything: Any = client.zrange(keys.profiles(cluster), 0, -1, withscores=True)
    surplus = max(0, len(everything) - most)
    found = _by_id(client, cluster, [_text(one) for one, asked_at in everything if asked_at < oldest])
    if surplus > len(found):
        candidates = _by_id(client, cluster, [_text(one) for one, _ in everything[: surplus + LOOKED_THROUGH][:-1]])
        may_go = [(one, profile) for one, profile in candidates.items() if one not in found and _may_go(profile, now, short)]
        spared = frozenset(list(candidates)[-SPARED:])
        may_go.sort(key=lambda named: _reluctance(named[1], named[0] in spared, now, short))  # the order stays otherwise
        found.update(may_go[: surplus - len(found)])
    delete(client, [profile for profile in found.values() if profile is not None])
    if lost := [one for one, profile in found.items() if profile is None]:
        client.zrem(keys.profiles(cluster), *lost)
    return len(found)


def _may_go(profile: Profile | None, now: float, short: Container[str]) -> bool:
    return profile is None or profile.kind in short or profile.asked_at < now - RUNS_AT_MOST_S


def _reluctance(profile: Profile | None, is_spared: bool, now: float, short: Container[str]) -> int:
    """Short ones go first, but not those that somebody has just asked for."""
    if profile is None or profile.kind not in short:
        return 0 if profile is None else 2
    return 3 if is_spared and profile.asked_at >= now - RUNS_AT_MOST_S else 1


def _by_id(client: redis.Redis, cluster: str, ids: list[str]) -> dict[str, Profile | None]:
    stored = client.mget([keys.profile(cluster, one) for one in ids]) if ids else []
    return dict(zip(ids, map(_read, stored), strict=True))


def take_place(client: redis.Redis, cluster: str, host: str, probe_id: str, pids: tuple[int, ...], now: float, until: float) -> None:
    """One of the few profiles that a host makes at a time, and one of each process. Raises Busy. A few round trips.

    A place is free again when its probe has ended, or at `until`.
    """
    key = keys.profiling(cluster, host)
    for _ in range(TRIES):
        with client.pipeline(transaction=True) as pipe:
            try:
                pipe.watch(key)  # type: ignore[no-untyped-call]
                taken = _taken(client, key, now)
                _refuse_beside(taken.values(), pids, host)
                ended = [name for name in map(_text, client.hkeys(key)) if name not in taken]
                pipe.multi()
                if ended:
                    pipe.hdel(key, *ended)
                pipe.hset(key, probe_id, msgspec.json.encode((until, pids)))
                pipe.expire(key, PLACES_KEPT_S)
                pipe.execute()
                return
            except WatchError:
                continue
    raise Busy(f"Too many ask for profiles on {host} at this moment.")


def leave_place(client: redis.Redis, cluster: str, host: str, probe_id: str) -> None:
    """The probe was not asked after all."""
    client.hdel(keys.profiling(cluster, host), probe_id)


def _taken(client: redis.Redis, key: bytes, now: float) -> dict[str, tuple[int, ...]]:
    """Probe id → processes, of those that have not ended."""
    found: dict[str, tuple[int, ...]] = {}
    for name, value in client.hgetall(key).items():
        try:
            until, pids = msgspec.json.decode(value, type=tuple[float, tuple[int, ...]])
        except msgspec.DecodeError:
            continue
        probe_id = _text(name)
        answer = queues.answer(client, probe_id, now)
        is_asked = answer is not None or now < until - queues.START_WITHIN_S
        if now < until and is_asked and not (answer is not None and answer.is_final):
            found[probe_id] = pids
    return found


def _refuse_beside(taken: Iterable[tuple[int, ...]], pids: tuple[int, ...], host: str) -> None:
    others = list(taken)
    for other in others:
        if both := set(other).intersection(pids):
            raise Busy(f"Process {min(both)} of {host} is profiled already. Wait for that profile, or stop it.")
    if len(others) >= PROFILES_AT_ONCE:
        raise Busy(f"{PROFILES_AT_ONCE} profiles are made on {host} already. Wait for one of them, or stop it.")


def _read(stored: object) -> Profile | None:
    if not isinstance(stored, bytes):
        return None
    try:
        return msgspec.json.decode(stored, type=Profile)
    except msgspec.DecodeError:
        return None  # of another version


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
