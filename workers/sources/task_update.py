"""What one message says of one attempt of a task, whichever way it came, and the values in it made safe to keep."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from clusterstate.masking import mask_runtime_env, mask_text
from clusterstate.model import Text, attempt_id
from clusterstate.task_states import END_UNKNOWN, INFERRED, TASK_STATES, rank, state_name
from workers.sources.gcs_fields import clipped, parsed_json, plain_resources, texts

TASK_ID_BYTES, NODE_ID_BYTES, WORKER_ID_BYTES, PLACEMENT_GROUP_ID_BYTES = 24, 28, 28, 18
MAX_ATTEMPT = 2**31 - 1
EARLIEST_MS = 1_420_070_400_000  # 2015: no Ray is older
AHEAD_MS = 86_400_000  # what a clock may be ahead of ours
OFTEN_TOLD = 8192
"""Characters of a text that is remembered when it comes again: call sites have a thousand."""

_ENDS = frozenset(number for number, state in TASK_STATES.items() if state in ("FINISHED", "FAILED"))
_STEPS = {number: (state, rank(state)) for number, state in TASK_STATES.items()}
_NIL = b"\xff" * TASK_ID_BYTES
_DRIVER = "f" * 40
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,32}m")
_JOB_IS_OVER = re.compile(r"Job finishes \([0-9a-f]{8}\) as driver exits\. Marking all non-terminal tasks as failed\.")
_WORKER_IS_DEAD = re.compile(r"Worker running the task \([0-9a-f]{56}\) died with exit_type: (\w{1,40})")
_INTENDED = frozenset({"1", "3", "INTENDED_SYSTEM_EXIT", "INTENDED_USER_EXIT"})


class TaskUpdate(NamedTuple):
    """A part of what is known of one attempt. Updates are joined in any order (`task_merge`)."""

    task_id: str
    attempt_number: int
    said: Mapping[str, Any]  # fields of Task that never change, None left out
    times: Mapping[str, int] = MappingProxyType({})  # state that is no end -> Unix ms
    state: str = "NIL"  # the furthest
    end_evidence: str | None = None
    end_time_ms: int | None = None
    error: tuple[str, str | None] | None = None  # (error_type, text id of the message)
    debugger: tuple[int, bool] | None = None  # (said at, Unix ms; is paused)
    texts: tuple[Text, ...] = ()  # what the ids in it stand for

    @property
    def attempt_id(self) -> str:
        return attempt_id(self.task_id, self.attempt_number)


def end_unknown(task_id: str, attempt_number: int) -> TaskUpdate:
    """The job of this attempt is over, and if it has ended, nobody said how. Any report of its end outranks this."""
    return TaskUpdate(task_id, attempt_number, {}, state=END_UNKNOWN)


def task_id_of(raw: bytes) -> str | None:
    """A task's id as hex digits; None for what is none: a wrong length, or Ray's nil."""
    return None if len(raw) != TASK_ID_BYTES or raw == _NIL else raw.hex()


def is_of_driver(task_id: str) -> bool:
    """Whether this is the task that stands for a driver itself: its id is all f but for the job's."""
    return task_id.startswith(_DRIVER)


def id_of(raw: bytes, length: int) -> str | None:
    """Any other id as hex digits; None when it is absent, nil or of a wrong length."""
    return None if len(raw) != length or _NIL.startswith(raw[:TASK_ID_BYTES]) else raw.hex()


def is_attempt(number: int) -> bool:
    return 0 <= number <= MAX_ATTEMPT


def is_plausible(ms: int, now_ms: int) -> bool:
    """Whether a moment that somebody told, Unix ms, may be one of Ray's."""
    return EARLIEST_MS <= ms <= now_ms + AHEAD_MS


def paused(ms: int, now_ms: int, is_paused: bool) -> tuple[int, bool] | None:
    """What is said of the debugger, at that moment; None where that cannot be."""
    return (ms, is_paused) if is_plausible(ms, now_ms) else None


def reached(
    told: Iterable[tuple[int, int]], source: str, inference: str | None, now_ms: int
) -> tuple[dict[str, int], str, str | None, int | None]:
    """(moments of states that are no end, the furthest state, evidence and Unix ms of the end) of (Ray's number, Unix ms) pairs.

    A state without a plausible moment still counts as reached. `source`: whose word it is. `inference`: what a failure counts
    as that the GCS only inferred (`inference_in`).
    """
    times: dict[str, int] = {}
    ends: dict[str, int | None] = {}
    furthest, furthest_rank = "NIL", 0
    latest_ms = now_ms + AHEAD_MS
    for number, ms in told:
        state, its_rank = _STEPS.get(number) or _invented(number)
        is_plausible = EARLIEST_MS <= ms <= latest_ms
        if number in _ENDS:
            ends[state] = ms if is_plausible else None
            continue
        if is_plausible:
            times[state] = min(ms, times.get(state, ms))
        if its_rank > furthest_rank:
            furthest, furthest_rank = state, its_rank
    return (times, *_end(ends, source, inference)) if ends else (times, furthest, None, None)


def _invented(number: int) -> tuple[str, int]:
    state = state_name(number)
    return state, rank(state)


def _end(ends: dict[str, int | None], source: str, inference: str | None) -> tuple[str, str | None, int | None]:
    """(state, evidence, Unix ms) of the end that holds, as Ray's state API has it: a failure, unless it is but inferred."""
    if inference is None or "FAILED" not in ends:
        state = "FAILED" if "FAILED" in ends else "FINISHED"
        return state, source, ends[state]
    if "FINISHED" in ends:
        return "FINISHED", source, ends["FINISHED"]
    return (END_UNKNOWN, None, None) if inference == END_UNKNOWN else ("FAILED", inference, ends["FAILED"])


def inference_in(error_type: str, message: str) -> str | None:
    """What the GCS's own word on an attempt is, whose end it was not told; None: a reported failure.

    It calls FAILED whatever had no end when the worker died (1 s later) and when the job was over (15 s later): a guess,
    unless the worker crashed. `END_UNKNOWN` or `INFERRED`. Recorded from Ray 2.53 and 2.60.
    """
    if error_type != "WORKER_DIED" or not message:
        return None
    if _JOB_IS_OVER.match(message):
        return END_UNKNOWN
    found = _WORKER_IS_DEAD.match(message)
    if found is None:
        return None
    return END_UNKNOWN if found.group(1) in _INTENDED else INFERRED


# --- Texts that many attempts share: masked, and named by their hash.


def error_text(message: str) -> Text | None:
    """An error's message without terminal colours, as Ray's own state API shows it."""
    return _often(_error_text, message)


def call_site_text(call_site: str) -> Text | None:
    return _often(_plain_text, call_site)


def runtime_env_text(serialized: str) -> Text | None:
    """The runtime environment as JSON; None for the empty one."""
    return None if serialized in ("", "{}") else _often(_runtime_env_text, serialized)


def resources_text(values: Mapping[str, float]) -> Text | None:
    """What is asked for, in the names that a person wrote, as JSON."""
    return _resources_text(tuple(values.items())) if values else None


def labels_text(values: Mapping[str, str]) -> Text | None:
    return _labels_text(tuple(values.items())) if values else None


def log_files_text(stdout_file: str, stderr_file: str) -> Text | None:
    return _log_files_text(stdout_file, stderr_file) if stdout_file or stderr_file else None


def text_id(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def refer(said: dict[str, Any], found: list[Text], name: str, text: Text | None) -> None:
    """Puts the text's id under that name, and the text in `found`."""
    if text is not None:
        said[name] = text.text_id
        found.append(text)


def _often(make: Any, raw: str) -> Text | None:
    if not raw:
        return None
    made: Text | None = make(raw) if len(raw) <= OFTEN_TOLD else make.__wrapped__(raw)
    return made


@lru_cache(1024)
def _error_text(message: str) -> Text | None:
    return _text(mask_text(_COLOURS.sub("", clipped(message))))


@lru_cache(1024)
def _plain_text(text: str) -> Text | None:
    return _text(mask_text(clipped(text)))


@lru_cache(1024)
def _runtime_env_text(serialized: str) -> Text | None:
    environment = parsed_json(serialized)
    return _json_text(mask_runtime_env(environment)) if isinstance(environment, dict) and environment else None


@lru_cache(1024)
def _resources_text(values: tuple[tuple[str, float], ...]) -> Text | None:
    return _json_text(plain_resources(dict(values)))


@lru_cache(1024)
def _labels_text(values: tuple[tuple[str, str], ...]) -> Text | None:
    return _json_text(texts(dict(values)))


@lru_cache(4096)
def _log_files_text(*files: str) -> Text | None:
    return _json_text([clipped(file) for file in files])


def _json_text(value: Mapping[str, Any] | Iterable[str]) -> Text | None:
    return _text(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))) if value else None


def _text(text: str) -> Text | None:
    return Text(text_id(text), text) if text else None
