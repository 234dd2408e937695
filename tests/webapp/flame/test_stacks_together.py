"""Stacks of many threads together: who stands apart, where, and whether it moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clusterstate.profile_answers import ENDED, ProcessStacks, ThreadStack, WhyNot
from clusterstate.query import BadQuery
from clusterstate.stacks import Frame
from tests.webapp.flame.profiles import HOSTILE, Tags, rendered, to
from webapp.flame.stacks_shown import AskedStacks, as_text, census_page, parse, threads_page
from webapp.flame.stacks_together import BUSY, MOVING, STUCK, UNKNOWN, Member, census, main_thread, threads_of, where

LOOP = (Frame("main_loop", "ray/_private/worker.py", 1), Frame("fit", "/home/ada/train.py", 8))
REDUCE = (*LOOP, Frame("all_reduce", "torch/distributed/distributed_c10d.py", 2806), Frame("wait", "threading.py", 355))
LOAD = (*LOOP, Frame("DataLoader.__next__", "torch/utils/data/dataloader.py", 708))
POOL = (Frame("run", "threading.py", 982), Frame("_worker", "concurrent/futures/thread.py", 81))


def thread(frames: tuple[Frame, ...], os_id: int = 7, name: str = "MainThread", *, active: bool = False, gil: bool = False) -> ThreadStack:
    return ThreadStack(os_id, name, active, gil, frames)


def process(*threads: ThreadStack, pid: int = 7, started_ms: int = 1) -> ProcessStacks:
    return ProcessStacks(pid, started_ms, threads)


def member(label: str, *passes: tuple[Frame, ...]) -> Member:
    return Member(label, tuple(process(thread(frames)) for frames in passes))


def moved(frames: tuple[Frame, ...], line: int) -> tuple[Frame, ...]:
    return (*frames[:-1], Frame(frames[-1].function, frames[-1].file, line))


HUNG = [*(member(f"rank {rank}", REDUCE) for rank in range(64) if rank != 17), member("rank 17", LOAD)]


def test_the_odd_one_out_comes_first_and_is_named() -> None:
    found = census(HUNG)

    assert found.sentence == "63 of 64 in all_reduce (torch/distributed), rank 17 in DataLoader.__next__ (torch/utils/data)"
    assert [(len(group), group.is_majority) for group in found.groups] == [(1, False), (63, True)]


def test_it_is_told_where_the_odd_one_leaves_the_others() -> None:
    parting = census(HUNG).groups[0].parting

    assert parting is not None
    assert (parting.common, parting.here, parting.there) == (LOOP[-1], LOAD[-1], REDUCE[2])


def test_a_stack_that_goes_on_where_most_end_parts_there() -> None:
    found = census([member("a", LOOP), member("b", LOOP), member("c", LOAD)])

    parting = found.groups[0].parting
    assert parting is not None
    assert (parting.common, parting.here, parting.there) == (LOOP[-1], LOAD[-1], None)


def test_without_a_majority_the_largest_group_comes_first() -> None:
    stacks = [(Frame(name, "a.py"),) for name in ("x", "x", "y", "z", "u")]

    found = census([member(str(place), stack) for place, stack in enumerate(stacks)])

    assert [len(group) for group in found.groups] == [2, 1, 1, 1]
    assert found.sentence == "2 of 5 in x (a.py), 2 in y (a.py), 3 in z (a.py), 4 in u (a.py)"


def test_lines_part_stacks_only_if_that_is_asked_for() -> None:
    members = [member("a", REDUCE), member("b", moved(REDUCE, 9))]

    assert len(census(members).groups) == 1
    assert len(census(members, lines=True).groups) == 2


@pytest.mark.parametrize(
    ("passes", "movement"),
    [
        ((REDUCE,), UNKNOWN),
        ((REDUCE, REDUCE, REDUCE), STUCK),
        ((REDUCE, moved(REDUCE, 9), REDUCE), MOVING),
        ((LOAD, REDUCE), MOVING),
    ],
)
def test_what_stood_on_the_same_lines_in_every_pass_is_stuck(passes: tuple[tuple[Frame, ...], ...], movement: str) -> None:
    assert census([member("a", *passes)]).groups[0].standing[0].movement == movement


def test_another_process_under_the_same_label_has_moved() -> None:
    one = Member("a", (process(thread(REDUCE)), process(thread(REDUCE), started_ms=2)))

    assert census([one]).groups[0].standing[0].movement == MOVING


def test_of_a_whole_job_the_odd_one_of_a_class_comes_first_not_the_driver() -> None:
    trainers = [*(member(f"trainer-{rank}", REDUCE) for rank in range(7)), member("trainer-7", LOAD)]
    driver = member("driver train.py", (Frame("get", "ray/_private/worker.py"),))
    idle = [member(f"ray::IDLE (pid {pid})", LOOP[:1]) for pid in range(9)]
    members = [
        replace(one, kind=kind) for kind, those in (("drivers", [driver]), ("ray::IDLE", idle), ("Trainer", trainers)) for one in those
    ]

    found = census(members)

    assert [group.standing[0].member.label for group in found.groups] == ["trainer-7", "trainer-0", "driver train.py", "ray::IDLE (pid 0)"]
    assert found.sentence.startswith(
        "Trainer: 7 of 8 in all_reduce (torch/distributed), trainer-7 in DataLoader.__next__ (torch/utils/data); "
    )
    assert "driver train.py in get (ray/_private); ray::IDLE: All 9 in Ray's main loop, waiting for tasks" in found.sentence


WAITS_FOR_TASKS = (Frame("<module>", "ray/_private/workers/default_worker.py"), Frame("Worker.main_loop", "ray/_private/worker.py"))
COLLECTOR = (Frame("PythonGCThread.run", "ray/_private/gc_collect_manager.py"), Frame("Condition.wait", "threading.py"))
METHOD = (Frame("actor_method_executor", "ray/_private/function_manager.py"), Frame("Server.infer", "/home/ada/serve.py", 8))
EVENT_LOOP = (Frame("Thread.run", "threading.py"), Frame("BaseEventLoop._run_once", "asyncio/base_events.py"))


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ((METHOD,), "In Server.infer (serve.py)"),
        (((*EVENT_LOOP, *METHOD), EVENT_LOOP), "In Server.infer (serve.py)"),
        (((*EVENT_LOOP, Frame("EpollSelector.select", "selectors.py")),), "In the event loop: coroutines that wait stand in no stack"),
        ((), "In Ray's main loop, waiting for tasks"),
        (((Frame("run", "/lib/site-packages/writer/thread.py"),),), "In Ray's main loop, waiting for tasks"),
    ],
)
def test_an_actor_with_threads_or_coroutines_stands_where_its_methods_run(others: tuple[tuple[Frame, ...], ...], sentence: str) -> None:
    threads = [thread(frames, 10 + place, "") for place, frames in enumerate((COLLECTOR, *others))]

    assert census([Member("a", (process(thread(WAITS_FOR_TASKS), *threads),))]).sentence == sentence


def test_what_runs_on_the_same_lines_each_time_is_busy_not_stuck() -> None:
    looks = tuple(process(thread(LOOP, active=True)) for _ in range(3))

    assert census([Member("a", looks)]).groups[0].standing[0].movement == BUSY


@pytest.mark.parametrize(("used", "movement"), [((1.0, 1.0, 1.01), STUCK), ((1.0, 1.02, 1.05), BUSY), ((1.0, 1.0, None), STUCK)])
def test_a_loop_that_sleeps_on_the_same_line_is_told_from_what_waits_by_its_cpu_time(used: tuple[float | None, ...], movement: str) -> None:
    looks = tuple(process(ThreadStack(7, "MainThread", False, False, LOOP, cpu_s)) for cpu_s in used)

    assert census([Member("a", looks)]).groups[0].standing[0].movement == movement


def test_equal_names_in_different_files_are_told_apart_where_stacks_part() -> None:
    here, there = (Frame("<module>", f"/home/ada/{name}.py") for name in "ab")
    page = census_page([member("1", (here,)), member("2", (here,)), member("3", (there,))], AskedStacks(), to)

    assert page.groups[0].parts == "from the start: <module> (/home/ada/b.py), where most have <module> (/home/ada/a.py)"


def test_who_is_missing_is_counted_apart_with_the_reason() -> None:
    gone = Member("rank 3", (ProcessStacks(9, 1, why_not=WhyNot(ENDED, "It ended with exit code 1.")),))

    page = rendered("profiles/_census.html", page=census_page([*HUNG, gone], AskedStacks(), to))

    assert "<b>64</b> of 65 processes" in page
    assert "It ended with exit code 1." in page


def test_in_all_threads_those_that_wait_for_work_are_apart() -> None:
    members = [
        Member(str(place), (process(thread(REDUCE), thread(POOL, 8, "pool_0"), thread(LOAD, 9, "loader"), pid=7),)) for place in range(3)
    ]

    found = census(members, everything=True)

    assert [(len(group), where(group.frames)) for group in found.groups] == [
        (3, "all_reduce (torch/distributed)"), (3, "DataLoader.__next__ (torch/utils/data)"),
    ]  # fmt: skip
    assert [len(group) for group in found.resting] == [3]


def test_threads_of_a_process_stand_with_the_one_that_holds_the_gil_first() -> None:
    awake, resting = threads_of(
        process(
            thread(POOL, 20, "pool_0"),
            thread(REDUCE, 7),
            thread(POOL, 21, "pool_1"),
            thread(LOAD, 9, "loader", active=True, gil=True),
            thread(LOOP, 10, "other", active=True),
        )
    )

    assert [group.standing[0].thread.name for group in awake] == ["loader", "other", "MainThread"]
    assert [len(group) for group in resting] == [2]


def test_the_main_thread_is_known_by_its_id_or_else_by_its_name() -> None:
    named, first = thread(LOAD, 30, "MainThread"), thread(POOL, 31, "x")

    assert main_thread(process(first, named, thread(POOL, 7, "y"))).os_id == 7  # type: ignore[union-attr]
    assert main_thread(process(first, named)) is named
    assert main_thread(process(first)) is first
    assert main_thread(process()) is None


def test_a_wait_is_named_by_who_waits() -> None:
    assert where(REDUCE) == "all_reduce (torch/distributed)"
    assert where(POOL) == "_worker (concurrent/futures)"
    assert where((Frame("step", "/home/ada/train.py", 4),)) == "step (train.py)"
    assert where(()) == "no Python code"


def test_equality_is_asked_by_the_address() -> None:
    assert parse({"lines": "1", "other": "x"}) == AskedStacks(lines=True)
    with pytest.raises(BadQuery):
        parse({"everything": "yes"})


def test_hostile_names_are_text_in_stacks() -> None:
    frames = tuple(Frame(one, other, 1) for one in HOSTILE for other in HOSTILE)
    members = [Member(name, (process(thread(frames[place:], name=name)),) * 2) for place, name in enumerate(HOSTILE)]
    one = ProcessStacks(7, 1, tuple(thread(frames, place, name) for place, name in enumerate(HOSTILE)), title=HOSTILE[0], python=HOSTILE[1])

    pages = [
        rendered("profiles/_census.html", page=census_page(members, AskedStacks(everything=True), to)),
        rendered("profiles/_threads.html", page=threads_page(one, AskedStacks(), to)),
    ]

    for page in pages:
        tags = Tags(page)
        assert not tags.tags & {"script", "img"}
        assert not {name for name in tags.attributes if name.startswith("on") or name in {"style", "src"}}
        assert not any(character in page for character in "\x00\x1b\u202e\ufffe")


def test_stacks_as_text_read_like_those_of_py_spy() -> None:
    text = b"".join(as_text([("rank 0", process(thread(LOOP, active=True, gil=True)))])).decode()

    assert 'Thread 7 (active+gil): "MainThread"\n    fit (/home/ada/train.py:8)\n    main_loop (ray/_private/worker.py:1)' in text


def test_a_process_that_could_not_be_looked_into_says_why() -> None:
    ended = ProcessStacks(7, 1, why_not=WhyNot(ENDED, "It has ended."))

    assert "It has ended." in rendered("profiles/_threads.html", page=threads_page(ended, AskedStacks(), to))


def test_threads_are_held_against_those_of_their_own_kind() -> None:
    members = [Member(str(place), (process(thread(REDUCE), thread(LOAD if place else LOOP, 30, f"loader-{place}")),)) for place in range(3)]

    found = census(members, everything=True)

    assert [(len(group), group.is_majority) for group in found.groups] == [(3, False), (1, False), (2, True)]
    assert found.sentence == "All 3 in all_reduce (torch/distributed)"


def test_what_is_so_of_all_threads_of_a_stack_is_said_once() -> None:
    members = [Member(str(place), (process(thread(LOOP, active=True, gil=not place)),)) for place in range(2)]

    (group,) = census_page(members, AskedStacks(), to).groups

    assert group.tags == ("active",)
    assert [one.tags for one in group.members] == [("holds the GIL", "active"), ("active",)]


def test_native_code_without_symbols_is_equal_wherever_a_process_has_loaded_it() -> None:
    found = census([member(str(place), (*LOOP, Frame(hex(0x7F00 + place), "libcuda.so.1"))) for place in range(3)])

    assert [len(group) for group in found.groups] == [3]


def test_a_worker_without_a_task_is_not_called_stuck() -> None:
    ray = "/v/site-packages/ray/_private/"
    frames = (Frame("<module>", f"{ray}workers/default_worker.py", 3), Frame("Worker.main_loop", f"{ray}worker.py", 9))

    found = census([member(f"worker {number}", frames, frames, frames) for number in range(2)])

    assert found.sentence == "All 2 in Ray's main loop, waiting for tasks"
    assert found.groups[0].count(STUCK) == 0
