"""What py-spy prints, as stacks: every count is kept, and names are whatever the program says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from clusterstate.stacks import MOST_DEPTH, MOST_NAME, Frame, Samples, Thread, pack, unpack
from workers.sources import py_spy_decode as decode

RUN = "run (/app/a.py:3)"


def stacks_of(samples: Samples) -> dict[tuple[Thread, tuple[Frame, ...]], int]:
    return {(samples.threads[one.thread], tuple(samples.frames[place] for place in one.frames)): one.count for one in samples.stacks}


def only(raw: str) -> tuple[Thread, tuple[Frame, ...], int]:
    [((thread, frames), count)] = stacks_of(decode.parse_raw(raw.encode(), 7)).items()
    return thread, frames, count


def test_a_stack_has_its_thread_its_frames_outermost_first_and_its_count() -> None:
    thread, frames, count = only("thread (4088): MainThread;<module> (/app/main.py:9);run (/app/a.py:3) 57\n")
    assert thread == Thread(7, 4088, "MainThread")
    assert frames == (Frame("<module>", "/app/main.py", 9), Frame("run", "/app/a.py", 3))
    assert count == 57


@pytest.mark.parametrize(
    "name",
    [
        "a;b",
        "worker 12 (x)",
        "1;2;3",
        "a;thread (9): b",
        "<script>alert(1)</script>",
        "\x1b[31mred",
        "12 34",
        "",
        "x" * 2000,
        "\u202eright to left",
    ],
)
def test_a_threads_name_may_hold_anything(name: str) -> None:
    thread, frames, count = only(f"thread (5): {name};{RUN} 4\n")
    assert (thread.os_id, thread.name, count) == (5, name[:MOST_NAME], 4)
    assert frames == (Frame("run", "/app/a.py", 3),)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("f (<string>:1)", Frame("f", "<string>", 1)),
        ("f.<locals>.<lambda> (a b/c.py:12)", Frame("f.<locals>.<lambda>", "a b/c.py", 12)),
        ("0x7f84aab278ec (/usr/lib/libc.so.6)", Frame("0x7f84aab278ec", "/usr/lib/libc.so.6")),
        ("operator()(int, char) (torch/x.cpp:4)", Frame("operator()(int, char)", "torch/x.cpp", 4)),
        ("f (/a.py:99999999999999999999)", Frame("f", "/a.py", 0)),
        ("just a name", Frame("just a name")),
        ("", Frame("")),
    ],
)
def test_frames_of_every_kind(printed: str, expected: Frame) -> None:
    assert only(f"thread (5): t;{RUN};{printed} 1\n")[1][1] == expected


def test_subprocesses_are_processes_of_their_own() -> None:
    raw = (
        f'process 7:"python a.py";thread (7): main;{RUN} 2\n'
        f'process 7:"python a.py";process 9:"sh -c "x; y" ;z";thread (10): "odd";{RUN} 3\n'
    )
    found = decode.parse_raw(raw.encode(), 7, subprocesses=True)
    assert {(thread.pid, thread.os_id, thread.name) for thread in found.threads} == {(7, 7, "main"), (9, 10, '"odd"')}
    assert found.total == 5


def test_a_command_line_of_several_lines_loses_no_process_below_it() -> None:
    above = 'process 7:"python -c import a\nimport b"'
    raw = f'{above};process 9:"c";thread (10);{RUN} 3\n{above};thread (7);{RUN} 2\n'
    found = decode.parse_raw(raw.encode(), 7, subprocesses=True)
    assert sorted((found.threads[stack.thread].pid, stack.count) for stack in found.stacks) == [(7, 2), (9, 3)]


def test_without_thread_ids_of_the_system_pythons_own_are_kept() -> None:
    assert only(f"thread (0x7F84AAB27): t;{RUN} 1\n")[0].os_id == 0x7F84AAB27


def test_every_count_is_kept_whatever_a_line_holds() -> None:
    raw = (
        b"\xff\xfe;\x00 3\nthread (1): t 4\n\nno number\nno number at all x\n 5\nthread (99999999999999999999): x;a (b:1) 6\n"
        + RUN.encode()
        + b" 7\n"
    )
    assert decode.total_of(raw) == 25
    assert decode.parse_raw(raw, 7).total == 25


@pytest.mark.parametrize(
    "line",
    ["thread (1): t;" + " (" * 400_000, 'process 1:"' + ";" * 900_000, 'process 1:"' + '";' * 400_000, "thread (1): a;" * 60_000],
)
def test_no_line_takes_long(line: str) -> None:
    begun = time.monotonic()
    assert decode.parse_raw(f"{line} 3\n".encode(), 7).total == 3
    assert time.monotonic() - begun < 3


def test_a_deep_stack_keeps_its_innermost_frames_and_says_so() -> None:
    raw = "thread (1): t;" + ";".join(f"f{number} (/a.py:{number})" for number in range(5000)) + " 1\n"
    frames = only(raw)[1]
    assert len(frames) == MOST_DEPTH
    assert (frames[0], frames[-1]) == (decode.DEEPER, Frame("f4999", "/a.py", 4999))


def test_a_name_with_a_line_break_speaks_for_no_other_process() -> None:
    found = decode.parse_raw(f'process 1:"x";thread (1): t;{RUN} 3\n'.encode(), 7)
    assert ({thread.pid for thread in found.threads}, found.total) == ({7}, 3)


def test_no_line_counts_more_than_py_spy_looked() -> None:
    assert decode.parse_raw(f"thread (1): t;{RUN} 999999\n".encode(), 7, most=40).total == 40


def test_a_line_of_many_processes_takes_no_longer_than_its_length_allows() -> None:
    begun = time.monotonic()
    assert decode.parse_raw(('process 1:"x";' * 60_000 + f"{RUN} 3\n").encode(), 7, subprocesses=True).total == 3
    assert time.monotonic() - begun < 1


def test_what_was_read_can_be_packed_and_unpacked() -> None:
    found = decode.parse_raw(f"thread (1): \ud7ff;{RUN} 2\n".encode() + b"thread (2): \xed\xa0\x80;f (\xff:1) 3\n", 7)
    assert unpack(pack(found)) == found


def test_the_notice_says_how_many_and_how_many_failed() -> None:
    words = "py-spy> Stopped sampling because process exited\npy-spy> Wrote data to '/x Samples: 1 Errors: 1'. Samples: 238 Errors: 4\n"
    assert decode.parse_notice(words) == decode.Counted(238, 4, process_exited=True)
    assert decode.parse_notice("") == decode.Counted()


def dumped(**fields: Any) -> dict[str, Any]:
    frame = {"name": "inner", "filename": "/a.py", "short_filename": "a.py", "module": None, "line": 2, "locals": None, "is_entry": True}
    outer = {**frame, "name": "outer", "line": 1}
    known = {
        "pid": 7,
        "thread_id": 140,
        "thread_name": "main",
        "os_thread_id": 8,
        "active": True,
        "owns_gil": False,
        "frames": [frame, outer],
    }
    return {**known, **fields}


def test_a_dump_has_each_thread_outermost_frame_first() -> None:
    [(pid, [thread])] = decode.parse_dump(json.dumps([dumped()]).encode())
    assert (pid, thread.os_id, thread.name, thread.is_active, thread.owns_gil) == (7, 8, "main", True, False)
    assert thread.frames == (Frame("outer", "/a.py", 1), Frame("inner", "/a.py", 2))


def test_a_dump_without_names_is_read_too() -> None:
    [(_, [thread])] = decode.parse_dump(json.dumps([dumped(thread_name=None, os_thread_id=None)]).encode())
    assert (thread.os_id, thread.name) == (140, "")


def test_names_of_a_dump_are_cut() -> None:
    [(_, [thread])] = decode.parse_dump(json.dumps([dumped(thread_name="x" * 9000)]).encode())
    assert len(thread.name) == MOST_NAME


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'[{"pid": "7"}]', b"[" * 100_000, b'[{"frames": [{"line": "x"}]}]'])
def test_what_is_no_dump_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode.parse_dump(raw)
