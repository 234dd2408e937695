"""Errors in log files: what is one, which are the same, and that neither splits nor hostile bytes change that."""

from __future__ import annotations

import json
import random
import time

import pytest

from clusterstate.log_errors import LINE, MOST_AT_ONCE, TRACEBACK, FoundError, Tail, find

PLAIN = b"""started
Traceback (most recent call last):
  File "/home/me/app/train.py", line 12, in main
    step(7)
  File "/home/me/app/train.py", line 40, in step
    raise ValueError(f"bad {n}")
ValueError: bad 7
went on
"""
CHAINED = b"""Traceback (most recent call last):
  File "a/b.py", line 1, in load
    open(path)
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a/c.py", line 9, in run
    load()
RuntimeError: cannot load
next
"""
OF_A_TASK = b"""Traceback (most recent call last):
  File "/app/driver.py", line 10, in <module>
    ray.get(f.remote())
  File "/lib/ray/_private/worker.py", line 2000, in get
    raise value.as_instanceof_cause()
ray.exceptions.RayTaskError(ZeroDivisionError): \x1b[36mray::f()\x1b[39m (pid=123, ip=127.0.0.1)
  File "/app/driver.py", line 5, in f
    return 1 / 0
ZeroDivisionError: division by zero
"""
OF_A_TASK_CHAINED = b"""Traceback (most recent call last):
  File "/app/driver.py", line 10, in <module>
    ray.get(f.remote())
ray.exceptions.RayTaskError(SensorError): ray::broken() (pid=11229, ip=127.0.0.1)
           ~~~~^~~~~~~~~~~~~~~~~~~
ZeroDivisionError: float division by zero

The above exception was the direct cause of the following exception:

ray::broken() (pid=11229, ip=127.0.0.1)
  File "/app/tasks.py", line 44, in broken
    raise SensorError("no reading") from error
tasks.SensorError: no reading
and more
"""
GROUP = b"""  + Exception Group Traceback (most recent call last):
  |   File "/app/many.py", line 3, in main
  |     raise ExceptionGroup("two", errors)
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/many.py", line 7, in one
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: 2
    +------------------------------------
after
"""
COPIED = b"""(train pid=88, ip=10.0.0.1) Traceback (most recent call last):
(train pid=88, ip=10.0.0.1)   File "/home/me/app/train.py", line 12, in main
(train pid=88, ip=10.0.0.1)     step(7)
(train pid=88, ip=10.0.0.1)   File "/home/me/app/train.py", line 40, in step
(train pid=88, ip=10.0.0.1) ValueError: bad 9
and more
"""
RANKS = b"""[rank0]: Traceback (most recent call last):
[rank0]:   File "/home/me/app/train.py", line 1, in main
[rank0]:     step(7)
[rank0]:   File "/home/me/app/train.py", line 2, in step
[rank0]: ValueError: bad 1
"""
LOGGED = b"""2026-11-23 10:00:00,123\tERROR worker.py:421 -- It failed 3 times
Traceback (most recent call last):
  File "/app/x.py", line 3, in go
OSError: [Errno 5] disk
2026-11-23 10:00:01,123\tINFO worker.py:1 -- fine
"""
UNHANDLED = b"""2026-11-23 10:00:00,123\tERROR worker.py:421 -- Unhandled error (suppress with 'RAY_X=1'): ray::f() (pid=5)
  File "/app/x.py", line 3, in f
    return 1 / 0
ZeroDivisionError: division by zero
"""
FATAL = b"""Fatal Python error: Segmentation fault

Current thread 0x00007f0000000000 (most recent call first):
  File "/app/native.py", line 3 in inner
  File "/app/native.py", line 9 in outer

Extension modules: numpy.core (total: 1)
"""
LINES = b"""2026-11-23 10:00:00,123\tERROR serve.py:7 -- Replica 'app#x1' at 10.0.0.7:8000 failed after 12.5 s
[2026-11-23 10:00:00,123 E 123 456] (raylet) node_manager.cc:12: Worker 0badcafe0badcafe died
ERROR:root:no connection to 7
my.module - CRITICAL - out of memory
2026-11-23 10:00:00 | ERROR    | app:run:9 - loguru
{"asctime": "2026-11-23 10:00:00,123", "levelname": "ERROR", "message": "from json"}
E1123 10:00:00.123456 7 file.cc:9] of abseil
"""
EVERYTHING = b"".join((PLAIN, CHAINED, OF_A_TASK, OF_A_TASK_CHAINED, GROUP, COPIED, RANKS, LOGGED, UNHANDLED, FATAL, LINES, b"the end\n"))


def errors(content: bytes) -> list[FoundError]:
    """Of a whole file."""
    found, tail = find(Tail(), content)
    last, _ = find(tail, b"", is_end=True)
    return found + last


def only(content: bytes) -> FoundError:
    [found] = errors(content)
    return found


def test_a_traceback_is_found_with_its_place_class_and_message() -> None:
    found = only(PLAIN)
    assert (found.kind, found.exception, found.message) == (TRACEBACK, "ValueError", "bad 7")
    assert found.offset == len(b"started\n")
    assert found.sample.startswith("Traceback")
    assert found.sample.endswith("ValueError: bad 7")


def test_the_same_error_with_other_numbers_is_the_same() -> None:
    other = PLAIN.replace(b"bad 7", b"bad 31").replace(b"line 40", b"line 44").replace(b"/home/me/", b"/srv/you/")
    assert only(other).fingerprint == only(PLAIN).fingerprint


def test_errors_of_other_functions_files_and_classes_are_others() -> None:
    prints = {
        only(content).fingerprint
        for content in (
            PLAIN,
            PLAIN.replace(b"in step", b"in stop"),
            PLAIN.replace(b"train.py", b"test.py"),
            PLAIN.replace(b"\nValueError", b"\nTypeError"),
        )
    }
    assert len(prints) == 4
    assert all(one.startswith("2:") and len(one) == 18 for one in prints)


def test_a_deeper_recursion_is_the_same_error() -> None:
    once = b'  File "/home/me/app/train.py", line 40, in step\n    step()\n'
    deep = PLAIN.replace(b'    raise ValueError(f"bad {n}")\n', b"    step()\n" + once * 30)
    assert only(deep).fingerprint == only(PLAIN).fingerprint


def recursion(depth: int) -> bytes:
    frames = [f'  File "a.py", line {number % 2}, in {"odd" if number % 2 else "even"}\n'.encode() for number in range(depth)]
    return b"Traceback (most recent call last):\n" + b"".join(frames) + b"RecursionError: too deep\n"


def test_functions_that_call_one_another_are_one_error_however_deep() -> None:
    assert len({only(recursion(depth)).fingerprint for depth in (4, 9, 30, 31)}) == 1


@pytest.mark.parametrize(
    "text", [CHAINED, OF_A_TASK_CHAINED.replace(b"           ~~~~^~~~~~~~~~~~~~~~~~~", b'  File "/app/tasks.py", line 4, in read')]
)
def test_another_place_of_the_cause_is_another_error(text: bytes) -> None:
    other = text.replace(b"in load\n", b"in save\n").replace(b"in read\n", b"in write\n")
    assert only(text).fingerprint != only(other).fingerprint


def test_another_place_of_a_member_of_a_group_is_another_error() -> None:
    assert only(GROUP).fingerprint != only(GROUP.replace(b"in one", b"in two")).fingerprint


CRASH = b"""*** SIGSEGV received at time=1700000000 on cpu 1 ***
PC: @     0x7f0011223344  (unknown)  do_harm()
    @     0x7f0011223355       1234  (unknown)
    @     0x7f0011223366  (unknown)  _PyEval_EvalFrameDefault
[2026-01-01 10:00:00,123 E 77 77] logging.cc:440: *** SIGSEGV received at time=1700000000 on cpu 1 ***
[2026-01-01 10:00:00,124 E 77 77] logging.cc:440: PC: @     0x7f0011223344  (unknown)  do_harm()
[2026-01-01 10:00:00,124 E 77 77] logging.cc:440:     @     0x7f0011223355       1234  (unknown)
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/home/me/app/harm.py", line 7 in harm
  File "/home/me/app/harm.py", line 9 in <module>

Extension modules: numpy (total: 1)
"""


def test_a_process_that_a_signal_ends_is_one_error() -> None:
    [found] = errors(CRASH + b"went on\n")
    assert (found.kind, found.exception, found.message) == (TRACEBACK, "SIGSEGV", "SIGSEGV received at time=1700000000 on cpu 1")
    other = CRASH.replace(b"1700000000", b"1800000001").replace(b"0x7f00", b"0x6e11")
    assert only(CRASH).fingerprint == only(other).fingerprint


def test_a_signal_without_a_stack_is_an_error() -> None:
    [found] = errors(b"a\n*** SIGBUS received at time=1 ***\nb\n")
    assert (found.exception, found.first_line) == ("SIGBUS", b"*** SIGBUS received at time=1 ***")


def test_a_chained_traceback_is_one_error_named_by_its_last() -> None:
    found = only(CHAINED)
    assert (found.exception, found.message) == ("RuntimeError", "cannot load")
    assert "KeyError" in found.sample
    assert found.fingerprint != only(CHAINED.replace(b"KeyError", b"IndexError")).fingerprint


def test_an_error_of_a_task_is_told_by_what_the_task_raised() -> None:
    found = only(OF_A_TASK)
    assert found.exception == "ray.exceptions.RayTaskError(ZeroDivisionError)"
    assert found.message == "division by zero"
    assert found.sample.endswith("ZeroDivisionError: division by zero")


def test_an_error_of_a_task_that_has_a_cause_is_one() -> None:
    found = only(OF_A_TASK_CHAINED)
    assert (found.exception, found.message) == ("tasks.SensorError", "no reading")
    assert found.sample.endswith("tasks.SensorError: no reading")


def test_a_group_of_exceptions_is_one_error() -> None:
    found = only(GROUP)
    assert (found.exception, found.message) == ("ExceptionGroup", "two (2 sub-exceptions)")
    assert "TypeError: 2" in found.sample
    assert found.fingerprint != only(GROUP.replace(b"TypeError", b"OSError")).fingerprint


def test_what_stands_before_each_line_does_not_matter() -> None:
    assert only(COPIED).is_copy
    assert not only(RANKS).is_copy
    assert only(COPIED).fingerprint == only(RANKS).fingerprint == only(PLAIN).fingerprint


def test_a_line_that_says_error_and_the_traceback_after_it_are_one() -> None:
    found = only(LOGGED)
    assert (found.kind, found.offset, found.exception) == (TRACEBACK, 0, "OSError")
    assert found.first_line.startswith(b"2026-11-23")
    assert only(UNHANDLED).exception == "ZeroDivisionError"


def test_a_traceback_that_breaks_off_is_told_by_where() -> None:
    found = only(PLAIN[: PLAIN.index(b"ValueError: ")] + b"<killed>\n")
    assert (found.exception, found.message) == ("", "A traceback that breaks off in step")


def test_the_interpreter_that_dies_is_an_error() -> None:
    found = only(FATAL)
    assert (found.exception, found.message) == ("Fatal Python error", "Segmentation fault")


def test_lines_that_say_error_in_the_forms_that_are_common() -> None:
    found = errors(LINES)
    assert {one.kind for one in found} == {LINE}
    assert [one.message for one in found] == [
        "serve.py:7 -- Replica 'app#x1' at 10.0.0.7:8000 failed after 12.5 s",
        "(raylet) node_manager.cc:12: Worker 0badcafe0badcafe died",
        "root:no connection to 7",
        "out of memory",
        "app:run:9 - loguru",
        "from json",
        "of abseil",
    ]
    assert len({one.fingerprint for one in found}) == 7


@pytest.mark.parametrize(
    "other",
    [
        LINES.replace(b"12.5", b"3").replace(b"10.0.0.7:8000", b"10.0.0.9:80").replace(b"app#x1", b"app#y2"),
        LINES.replace(b"2026-11-23 10:00:00", b"2027-01-02 03:04:05").replace(b"0badcafe0badcafe", b"12345678deadbeef"),
        LINES.replace(b"123 456]", b"9 8]"),
        LINES.replace(b"\n", b"\r\n"),
    ],
)
def test_lines_that_differ_in_numbers_ids_times_and_quoted_values_are_the_same(other: bytes) -> None:
    assert [one.fingerprint for one in errors(other)] == [one.fingerprint for one in errors(LINES)]


@pytest.mark.parametrize(
    "line",
    [
        b"2026-11-23 10:00:00,123\tINFO x.py:1 -- 3 ERROR lines were seen\n",
        b"There was an ERROR of some kind\n",
        b"[2026-11-23 10:00:00,123 I 1 2] x.cc:1: status E 5\n",
        b"NO_ERROR = 0\n",
        b"    ERROR = 1\n",
        b"| ERROR    | 3 |\n",
        b'    "ERROR": 0,\n',
        b"ERROR: 0\n",
        b"error_count=0 ERRORS none\n",
        b"point E 5 of 7\n",
        b"INFO retrying after Traceback (most recent call last): and so on\nnext\n",
        b"Traceback (most recent call last):\nnothing of the kind\n",
    ],
)
def test_a_line_that_only_speaks_of_errors_is_none(line: bytes) -> None:
    assert errors(line) == []


@pytest.mark.parametrize(
    "line", [b"10:00:00 ERROR no disk", b"10:00:00,123 - app - ERROR - no disk", b"[10:00:00] ERROR no disk", b"ERROR == no disk"]
)
def test_a_time_without_a_date_is_a_time(line: bytes) -> None:
    assert only(line + b"\n").kind == LINE


def test_a_traceback_in_a_json_line_is_one() -> None:
    text = PLAIN.split(b"\n", 1)[1].decode().replace("went on\n", "")
    line = '{"asctime": "2026-11-23 10:00:00,123", "levelname": "ERROR", "message": "m", "exc_text": %s}\n'
    found = only((line % json.dumps(text)).encode())
    assert (found.kind, found.exception) == (TRACEBACK, "ValueError")
    assert found.fingerprint == only(PLAIN).fingerprint


def test_wherever_a_file_is_split_the_same_is_found() -> None:
    whole = errors(EVERYTHING)
    assert len(whole) == 10 + 7
    for at in range(len(EVERYTHING) + 1):
        first, tail = find(Tail(), EVERYTHING[:at])
        second, tail = find(tail, EVERYTHING[at:])
        last, _ = find(tail, b"", is_end=True)
        assert first + second + last == whole, at


def test_byte_by_byte_the_same_is_found() -> None:
    tail, found = Tail(), []
    for byte in EVERYTHING:
        more, tail = find(tail, bytes([byte]))
        found += more
    assert found + find(tail, b"", is_end=True)[0] == errors(EVERYTHING)


def test_a_traceback_at_the_end_waits_for_more_and_is_then_told() -> None:
    cut = PLAIN[: PLAIN.index(b"went on")]
    found, tail = find(Tail(), cut)
    assert (found, tail.is_pending) == ([], True)
    [late], after = find(tail, b"", is_end=True)
    assert late.exception == "ValueError"
    assert (after.start, after.content) == (len(cut), b"")


@pytest.mark.parametrize(
    "content",
    [
        b"x" * (20 << 20),
        b"ERROR " * (3 << 20),
        b"\0" * (20 << 20),
        b"\r" * (20 << 20),
        b"\xff\xfe" * (10 << 20),
        b"Traceback (most recent call last):" * 500_000,
        b"Traceback (most recent call last):\n" * 300_000,
        b"ERROR\n" * 500_000,
        b"ERROR: " + b"[" * (10 << 20),
        b"{" * (1 << 20) + b'"level": "ERROR"',
        b'Traceback (most recent call last):\n  File "' + b"a" * (8 << 20),
        b"Traceback (most recent call last):\n" + b"  x\n" * 2_000_000,
        b"2026-11-23 10:00:00 ERROR " + b"'" * (1 << 20),
        b"2026-11-23 10:00:00 ERROR " + b"1" * 15_000 + b"\n",
        b"(" * (1 << 20) + b"ERROR\n",
    ],
    ids=range(15),
)
def test_hostile_bytes_are_harmless_and_cheap(content: bytes) -> None:
    begun = time.process_time()
    tail, most = Tail(), 0
    for at in range(0, len(content), 256 << 10):
        found, tail = find(tail, content[at : at + (256 << 10)])
        assert len(found) <= MOST_AT_ONCE
        assert len(tail.content) <= 64 << 10
        most = max(most, sum(len(one.sample) for one in found))
    find(tail, b"", is_end=True)
    assert time.process_time() - begun < 0.6 * (len(content) / (1 << 20)) + 1.0


def test_any_bytes_are_read() -> None:
    chosen = random.Random(1)
    words = [
        b"Traceback (most recent call last):\n",
        b"  + Exception Group Traceback (most recent call last):\n",
        b"During handling of the above exception, another\n",
        b'  File "x", line 3, in f\n',
        *(b"ValueError: x\n", b"ERROR: y\n", b"(f pid=1) ", b"  | ", b"\n", b"\0", b"\xff", b"\x1b[31m", b"\r"),
    ]
    for _ in range(3_000):
        content = b"".join(chosen.choices(words, k=14))
        at = chosen.randrange(len(content) + 1)
        first, tail = find(Tail(), content[:at])
        second, tail = find(tail, content[at:])
        assert first + second + find(tail, b"", is_end=True)[0] == errors(content), content


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        (b"[2026-11-23 10:00:00,123 E 12 34] (raylet) a.cc:9: bad\n", True),
        (b"[2026-11-23 10:00:00,123 C 12 34] (gcs_server) a.cc:7:  Check failed: x\n", True),
        (b"[2026-11-23 10:00:00,123 I 12 34] (raylet) a.cc:9: it says ERROR here\n", False),
        (b"I1123 10:00:00.1 12 a.cc:9] ERROR is a word\n", False),
    ],
)
def test_rays_own_lines_are_errors_by_their_letter_whatever_they_say(line: bytes, is_one: bool) -> None:
    found, _ = find(Tail(0), line, is_end=True)
    assert bool(found) is is_one
