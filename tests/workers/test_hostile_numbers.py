"""Whatever numbers a pushed body has, what is made of it can be written to Redis and to the index."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from clusterstate.model import Task
from clusterstate.resources import TASKS
from clusterstate.store.encoding import codec
from clusterstate.store.index import Index
from tests.workers.pushing import NOW, binary, event
from workers.sources.events_decode import PushedBody
from workers.sources.events_decode_json import ExportedBody
from workers.sources.task_merge import merge_all

NUMBERS = (0, -1, 1, NOW // 1000, 10**13, 10**16, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
PIDS = tuple(number for number in NUMBERS if abs(number) <= 2**31 - 1)


def bodies() -> list[Any]:
    found = []
    for number, pid in itertools.product(NUMBERS, PIDS):
        transitions = [{"state": state, "timestamp": {"seconds": number, "nanos": pid}} for state in (8, 11)]
        log = dict.fromkeys(("stdout_start", "stdout_end", "stderr_start", "stderr_end"), number)
        if abs(number) > 2**31 - 1:
            log = {}
        found.append(
            event("lifecycle", at_s=number, worker_pid=pid, state_transitions=transitions, task_log_info=log, is_debugger_paused=True)
        )
    return found


def written(updates: Any, path: Path) -> int:
    rows = codec(Task)
    count = 0
    with closing(Index(path)) as index:
        index.make_sorts()
        for number, update in enumerate(updates, start=1):
            task = merge_all(None, [update], number)
            blob = rows.encode(task)
            assert rows.decode(blob) == task
            index.begin()
            index.put(TASKS, [(task.attempt_id, rows.values(blob))])
            index.commit()
            count += 1
    return count


def test_of_the_binary_route(tmp_path: Path) -> None:
    made = bodies()
    body = PushedBody(binary(*made), NOW)
    assert written(body.updates(), tmp_path / "index.db") == len(made)


@pytest.mark.parametrize("number", [*NUMBERS, 2**63, 2**64, 10**30, -(10**30), 1e300, 0.5])
def test_of_the_json_route(number: float, tmp_path: Path) -> None:
    [said] = [
        json_format.MessageToDict(event("lifecycle", is_debugger_paused=True, worker_pid=5), always_print_fields_with_no_presence=True)
    ]
    told = said["taskLifecycleEvent"]
    told["workerPid"] = number
    told["taskLogInfo"] = {"stdoutStart": number, "stdoutEnd": str(number)}
    told["stateTransitions"] = [{"state": number, "timestamp": "9999-12-31T23:59:59.9Z"}, {"state": "RUNNING", "timestamp": number}]
    said["timestamp"] = "9999-12-31T23:59:59Z"
    body = ExportedBody(json.dumps([said]).encode(), NOW)
    assert written(body.updates(), tmp_path / "index.db") == 1
