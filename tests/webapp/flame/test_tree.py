"""Call trees: every count in them is that of the samples."""

from __future__ import annotations

from collections import Counter

import pytest

from clusterstate.stacks import Frame, Merging, Samples, Stack, Thread
from tests.webapp.flame.profiles import MAIN, profile, random_profile, to
from webapp.flame.asking import AskedFlame
from webapp.flame.labels import key_of_function, key_of_thread, label_of
from webapp.flame.tree import BY_PROCESS, BY_THREAD, Shape, Tree, grow, sandwich
from webapp.flame.viewing import view

SHAPES = [
    Shape(lines, by, inverted, modules=modules)
    for lines, modules in ((False, False), (True, False), (False, True))
    for by in ("", BY_THREAD, BY_PROCESS)
    for inverted in (False, True)
]


def paths(tree: Tree) -> dict[str, int]:
    """Totals by path."""
    found: Counter[str] = Counter()
    for node in range(len(tree)):
        found[";".join(tree.labels[tree.label[one]].name for one in tree.path(node)[1:])] += tree.total[node]
    return dict(found)


def test_a_function_counts_what_ended_in_it_and_in_all_that_it_called() -> None:
    tree = grow(profile("main;load 3", "main;load;parse 4", "main;train 2"), Shape())

    assert paths(tree) == {"": 9, "main": 9, "main;load": 7, "main;load;parse": 4, "main;train": 2}


def test_turned_round_each_function_stands_above_who_called_it() -> None:
    tree = grow(profile("main;load;wait 3", "main;train;wait 4", "main;train 2"), Shape(inverted=True))

    expected = {"": 9, "wait": 7, "wait;load": 3, "wait;load;main": 3, "wait;train": 4, "wait;train;main": 4, "train": 2, "train;main": 2}
    assert paths(tree) == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_its_shape_a_tree_holds_every_sample_once(shape: Shape, seed: int) -> None:
    samples = random_profile(seed)

    tree = grow(samples, shape)

    assert tree.total[0] == sum(tree.own) == samples.total
    for node in range(len(tree)):
        assert tree.total[node] == tree.own[node] + sum(tree.total[child] for child in tree.children.get(node, ()))


def test_the_tree_of_merged_profiles_is_the_sum_of_their_trees() -> None:
    first, second = random_profile(1), random_profile(2)
    merging = Merging()
    merging.add_samples(first)
    merging.add_samples(second)

    summed = Counter(paths(grow(first, Shape()))) + Counter(paths(grow(second, Shape())))

    assert paths(grow(merging.samples(), Shape())) == summed


def test_threads_stand_apart_when_that_is_asked_and_one_can_be_seen_alone() -> None:
    pool = Thread(7, 9, "pool")
    samples = Samples("samples", (Frame("run"),), (MAIN, pool), (Stack(0, (0,), 3), Stack(1, (0,), 5)))

    apart = grow(samples, Shape(by=BY_THREAD))
    alone = grow(samples, Shape(thread=key_of_thread(pool)))

    assert paths(apart) == {
        "": 8, "thread (7): MainThread": 3, "thread (7): MainThread;run": 3, "thread (9): pool": 5, "thread (9): pool;run": 5,
    }  # fmt: skip
    assert paths(alone) == {"": 5, "run": 5}


def test_lines_of_a_function_are_one_box_unless_they_are_asked_for() -> None:
    samples = Samples("samples", (Frame("run", "a.py", 1), Frame("run", "a.py", 2)), (MAIN,), (Stack(0, (0,), 3), Stack(0, (1,), 5)))

    assert grow(samples, Shape()).total == [8, 8]
    assert grow(samples, Shape(lines=True)).total == [8, 3, 5]


def test_functions_of_a_module_that_call_one_another_are_one_box() -> None:
    tree = grow(
        profile("app.py:main;torch/nn.py:forward;torch/functional.py:linear 3", "app.py:main;torch/nn.py:forward;app.py:hook 2"),
        Shape(modules=True),
    )

    assert paths(tree) == {"": 5, "app": 5, "app;torch": 5, "app;torch;app": 2}


def test_callers_and_callees_of_a_function_each_count_its_stacks_once() -> None:
    samples = profile("main;walk;walk;read 3", "main;walk 4", "other;walk;read 2", "main;read 9")

    found = sandwich(samples, key_of_function(label_of(Frame("walk", "app.py"), lines=False)), Shape())

    assert paths(found.callees) == {"": 9, "walk": 9, "walk;walk": 3, "walk;walk;read": 3, "walk;read": 2}
    assert paths(found.callers) == {"": 9, "walk": 9, "walk;main": 7, "walk;other": 2}


def test_a_frame_is_found_again_by_its_key_whatever_else_was_counted() -> None:
    few = grow(profile("main;load;parse 4"), Shape())
    more = grow(profile("a;b 1", "main;train 2", "main;load 3", "main;load;parse 4"), Shape())

    node = more.find(few.key(3))

    assert node is not None
    assert [more.labels[more.label[one]].name for one in more.path(node)] == ["all", "main", "load", "parse"]
    assert more.find("0123456789abcdef") is None
    assert more.find("") == 0


def test_a_tree_that_is_full_still_counts_all() -> None:
    samples = random_profile(5, stacks=500)

    tree = grow(samples, Shape(), most=40)

    assert len(tree) == 40
    assert tree.total[0] == samples.total
    assert tree.cut > 0


def test_stacks_as_deep_as_any_are_no_deeper_than_what_can_be_walked() -> None:
    samples = Samples("samples", (Frame("f"),), (MAIN,), tuple(Stack(0, (0,) * depth, 1) for depth in range(1, 1001)))

    tree = grow(samples, Shape())

    assert len(tree) == 1001
    assert tree.total[1] == 1000
    assert len(list(tree.depth_first(tree.total))) == 1001


def test_counts_beyond_what_a_machine_word_holds_are_added_up_right() -> None:
    samples = Samples("bytes", (Frame("f"),), (MAIN,), tuple(Stack(0, (0,), 1 << 53) for _ in range(2000)))

    assert grow(samples, Shape()).total == [2000 << 53] * 2


def test_native_code_without_symbols_is_one_function_of_its_library() -> None:
    tree = grow(profile("main;libc.so.6:0x7f01 1", "main;libc.so.6:0x7f02 2"), Shape())

    assert paths(tree) == {"": 3, "main": 3, "main;(no symbol)": 3}


def test_a_function_that_counted_nothing_has_no_callers_to_draw() -> None:
    samples = Samples("samples", (Frame("run"),), (MAIN,), (Stack(0, (0,), 0),))

    assert view(samples, AskedFlame(view="sandwich", function=key_of_function(label_of(Frame("run"), lines=False))), to).view == "sandwich"
    assert view(samples, AskedFlame(), to).page.is_empty  # type: ignore[union-attr]
