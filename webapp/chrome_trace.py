"""Attempts of tasks as a Chrome trace: the events that `ray timeline` writes, which Perfetto and chrome://tracing open. Pure.

The shape is that of `chrome_tracing_dump` in `ray/_private/profiling.py`: a process is a node, a thread is a worker, both numbered
in the order in which they appear and named by metadata events. Ray makes its events from what workers profiled; here an attempt is
one event, from its start to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple

from clusterstate.task_states import has_ended

COLOUR, FAILED_COLOUR = "generic_work", "terrible"
"""Names that trace viewers know: Ray's for any task, and the red of its palette."""
LATEST_MS = 2**53 // 1000
"""A later moment, in microseconds, is not a whole number to every reader of JSON."""
UNKNOWN = "unknown"


class Attempt(NamedTuple):
    """What of a row of tasks goes into its event. Times are Unix milliseconds."""

    task_id: str
    attempt_number: int
    state: str
    name: str | None
    func_or_class_name: str | None
    job_id: str | None
    actor_id: str | None
    node_id: str | None
    worker_id: str | None
    start_time_ms: int
    end_time_ms: int | None
    error_type: str | None


@dataclass
class _Rows:
    """The thread rows of one worker: more than one only while it runs several tasks at once.

    Viewers drop or misplace what overlaps within a row. Ends are their owner's word, too, which often comes some
    milliseconds after the worker began its next task.
    """

    busy: list[tuple[int, int]] = field(default_factory=list)  # heap of (until, tid)
    free: list[int] = field(default_factory=list)  # heap of tids

    def row_for(self, start_ms: int, end_ms: int, new: Callable[[], int]) -> int:
        """The tid of the first row that is free at the start, which is no earlier than that of the call before."""
        while self.busy and self.busy[0][0] <= start_ms:
            heappush(self.free, heappop(self.busy)[1])
        tid = heappop(self.free) if self.free else new()
        heappush(self.busy, (end_ms, tid))
        return tid


class ChromeTrace:
    """Makes events bit by bit; what it holds grows with the number of nodes and workers alone.

    `until_ms` is when attempts that still run end in the trace. `node_ip` tells a node's address by its id, if it is known.
    """

    def __init__(self, until_ms: int, node_ip: Callable[[str], str | None]) -> None:
        self._until_ms = until_ms
        self._node_ip = node_ip
        self._nodes: dict[str | None, int] = {}
        self._workers: dict[tuple[int, str], _Rows] = {}
        self._threads = 0

    def events(self, attempts: Iterable[Attempt]) -> Iterator[dict[str, Any]]:
        """The events of these attempts, which come in the order of their starts; names go before what they name.

        An attempt whose start is no possible moment is left out. One that ended nobody knows when is an instant, not a duration.
        """
        for attempt in attempts:
            start = attempt.start_time_ms
            if not 0 <= start <= LATEST_MS:
                continue
            end = self._end(attempt)
            named: list[dict[str, Any]] = []
            pid = self._pid(attempt.node_id, named)
            tid = self._tid(pid, _component(attempt), start, start if end is None else end, named)
            yield from named
            yield _event(attempt, pid, tid, end)

    def _end(self, attempt: Attempt) -> int | None:
        end = attempt.end_time_ms
        if end is None and not has_ended(attempt.state):
            end = self._until_ms
        return None if end is None or end > LATEST_MS else max(end, attempt.start_time_ms)

    def _pid(self, node_id: str | None, named: list[dict[str, Any]]) -> int:
        pid = self._nodes.get(node_id)
        if pid is None:
            pid = self._nodes[node_id] = len(self._nodes)
            called = UNKNOWN if node_id is None else self._node_ip(node_id) or node_id
            named.append(_name("process_name", f"Node {called}", pid, None))
        return pid

    def _tid(self, pid: int, component: str, start_ms: int, end_ms: int, named: list[dict[str, Any]]) -> int:
        def new() -> int:
            self._threads += 1
            named.append(_name("thread_name", component, pid, self._threads - 1))
            return self._threads - 1

        return self._workers.setdefault((pid, component), _Rows()).row_for(start_ms, end_ms, new)


def _component(attempt: Attempt) -> str:
    """The name of a worker's row, as Ray has it: what kind of process, and its id."""
    return f"worker:{attempt.worker_id or UNKNOWN}"


def _event(attempt: Attempt, pid: int, tid: int, end_ms: int | None) -> dict[str, Any]:
    """An attempt from its start to its end, both in microseconds; without an end, the instant of its start."""
    name = attempt.name or attempt.func_or_class_name or UNKNOWN
    start = attempt.start_time_ms * 1000
    lasting = {"ph": "i", "s": "t"} if end_ms is None else {"dur": end_ms * 1000 - start, "ph": "X"}
    return {
        "cat": f"task::{name}",
        "name": name,
        "pid": pid,
        "tid": tid,
        "ts": start,
        "cname": FAILED_COLOUR if attempt.state == "FAILED" else COLOUR,
        "args": {
            "task_id": attempt.task_id,
            "job_id": attempt.job_id,
            "attempt_number": attempt.attempt_number,
            "func_or_class_name": attempt.func_or_class_name,
            "actor_id": attempt.actor_id,
            "node_id": attempt.node_id,
            "state": attempt.state,
            "error_type": attempt.error_type,
        },
        **lasting,
    }


def _name(kind: str, name: str, pid: int, tid: int | None) -> dict[str, Any]:
    return {"name": kind, "args": {"name": name}, "pid": pid, "tid": tid, "ph": "M"}
