"""The flame graph: what is drawn of a tree, where, and what the page says of it."""

from __future__ import annotations

import re

import msgspec
import pytest

from clusterstate.query import BadQuery
from clusterstate.stacks import BYTES
from tests.webapp.flame.profiles import HOSTILE, Tags, hostile_profile, profile, random_profile, rendered, to
from webapp.flame.asking import AskedFlame, parse
from webapp.flame.drawing import MOST_ABOVE, MOST_BOXES, MOST_ROWS, ROW_PX, Pen
from webapp.flame.labels import Label, look_of, module_of, origin_of
from webapp.flame.searching import found_count, wanted
from webapp.flame.showing import flame_page
from webapp.flame.tree import Shape, grow
from webapp.flame.viewing import view

SMALL = ("main;load 3", "main;load;parse 4", "main;train 2", "idle 1")


def boxes(*stacks: str, at: str = "", upwards: bool = False) -> dict[str, tuple[float, float, int]]:
    page = flame_page(profile(*stacks), AskedFlame(at=at, upwards=upwards), to)
    return {box.name: (round(box.x, 3), round(box.width, 3), box.y // ROW_PX) for box in page.drawing.boxes}


def test_boxes_are_as_wide_as_they_count_below_who_called_them_the_widest_first() -> None:
    assert boxes(*SMALL) == {
        "all": (0.0, 1.0, 0), "main": (0.0, 0.9, 1), "idle": (0.9, 0.1, 1),
        "load": (0.0, 0.7, 2), "train": (0.7, 0.2, 2), "parse": (0.0, 0.4, 3),
    }  # fmt: skip


def test_a_flame_stands_on_its_root() -> None:
    assert {name: row for name, (_, _, row) in boxes(*SMALL, upwards=True).items()} == {
        "all": 3, "main": 2, "idle": 2, "load": 1, "train": 1, "parse": 0,
    }  # fmt: skip


def test_a_frame_that_is_zoomed_to_has_the_whole_width_below_those_that_led_to_it() -> None:
    tree = grow(profile(*SMALL), Shape())
    load = next(node for node in range(len(tree)) if tree.labels[tree.label[node]].name == "load")

    assert boxes(*SMALL, at=tree.key(load)) == {
        "all": (0.0, 1.0, 0),
        "main": (0.0, 1.0, 1),
        "load": (0.0, 1.0, 2),
        "parse": (0.0, 0.571, 3),
    }


def test_a_frame_that_is_not_there_any_more_shows_all_and_says_so() -> None:
    page = flame_page(profile(*SMALL), AskedFlame(at="0123456789abcdef"), to)

    assert page.drawing.at == 0
    assert page.note is not None


def test_what_is_too_narrow_is_counted_instead_of_drawn() -> None:
    page = flame_page(profile("wide 10000", "narrow;deeper 1", "other 1"), AskedFlame(), to)

    assert [box.name for box in page.drawing.boxes] == ["all", "wide"]
    assert page.drawing.hidden == 3


def test_a_picture_has_so_many_boxes_and_rows_at_most() -> None:
    samples = profile(*(f"{';'.join(f'f{place}_{depth}' for depth in range(400))} 1" for place in range(40)))

    drawing = Pen(grow(samples, Shape()), "samples").draw()

    assert len(drawing.boxes) == MOST_BOXES
    assert drawing.height <= (MOST_ROWS + MOST_ABOVE + 1) * ROW_PX
    assert drawing.hidden == 40 * 400 + 1 - MOST_BOXES


@pytest.mark.parametrize("seed", range(5))
def test_no_box_stands_outside_the_one_above_it(seed: int) -> None:
    drawing = Pen(tree := grow(random_profile(seed), Shape()), "samples").draw()
    placed = {box.node: box for box in drawing.boxes}

    for node, box in placed.items():
        if node:
            above = placed[tree.parent[node]]
            assert above.x - 1e-9 <= box.x
            assert box.x + box.width <= above.x + above.width + 1e-9
            assert box.y == above.y + ROW_PX


def test_a_search_says_which_part_of_all_samples_it_matched_each_once() -> None:
    samples = profile("main;load;load 3", "main;load;parse 4", "main;train 2", "idle 1")

    page = flame_page(samples, AskedFlame(q="LOAD"), to)

    assert page.search is not None
    assert (page.search.share, page.search.count, page.search.places) == ("70.0\u202f%", "7 samples", 1)
    assert {box.name for box in page.drawing.boxes if " found" in box.look} == {"load"}


def test_a_star_stands_for_anything_and_nothing_else_is_special() -> None:
    samples = profile("a.b(c 1", "torch/nn.py:forward 2", "torch/optim.py:step 4")

    def counted(text: str) -> int:
        what = wanted(text)
        return found_count(samples, what, Shape()) if what else -1

    assert counted("ste*torch") == 4
    assert counted("torch") == 6
    assert counted("b(c") == 1
    assert counted("a?b") == counted(".*+") == 0
    assert counted(" * ") == -1


def test_matches_are_gone_through_one_after_another_and_around_the_end() -> None:
    samples = profile("a;hit 5", "b;hit 3", "c;hit 1")
    seen, link = [], "?at="
    for _ in range(4):
        asked = AskedFlame(q="hit", at=link.split("at=")[1][:16])
        page = flame_page(samples, asked, to)
        assert page.search is not None
        assert page.search.next is not None
        seen.append((page.search.here, [crumb.name for crumb in page.crumbs]))
        link = page.search.next

    assert seen == [(None, ["all"]), (1, ["all", "a", "hit"]), (2, ["all", "b", "hit"]), (3, ["all", "c", "hit"])]


def test_bytes_are_told_in_their_unit() -> None:
    page = flame_page(profile("main 3145728", unit=BYTES), AskedFlame(), to)

    assert page.total == "3.00 MiB"


@pytest.mark.parametrize(
    ("file", "module", "origin"),
    [
        ("ray/_private/worker.py", "ray", "Ray"),
        ("python/ray/_raylet.pyx", "ray", "Ray"),
        ("/usr/lib/python3.11/site-packages/ray/data/x.py", "ray", "Ray"),
        ("/opt/venv/lib/python3.12/site-packages/torch/nn/functional.py", "torch", ""),
        ("torch/nn/functional.py", "torch", ""),
        ("threading.py", "threading", "standard library"),
        ("/usr/lib/python3.11/json/decoder.py", "json", "standard library"),
        ("<frozen importlib._bootstrap>", "importlib", "standard library"),
        ("/home/ada/project/train.py", "train", ""),
        ("libtorch_cpu.so", "libtorch_cpu", "native"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "libc", "native"),
        ("", "", ""),
    ],
)
def test_whose_code_a_frame_is_follows_from_its_file(file: str, module: str, origin: str) -> None:
    assert (module_of(file), origin_of(file)) == (module, origin)


def test_packages_that_are_often_seen_together_have_a_colour_each() -> None:
    often = ["torch", "numpy", "pandas", "pyarrow", "transformers", "jax", "tensorflow", "vllm", "scipy", "sklearn", "datasets"]

    assert len({look_of(Label("f", f"{name}/a.py")) for name in often}) == len(often)


def test_a_package_has_the_same_colour_everywhere() -> None:
    assert look_of(Label("f", "torch/nn/a.py")) == look_of(Label("g", "/x/site-packages/torch/optim/b.py"))


@pytest.mark.parametrize(
    "given", [{"at": "x"}, {"view": "all"}, {"by": "core"}, {"lines": "2"}, {"sort": "pid"}, {"q": "x" * 201}, {"unknown": "1"}]
)
def test_an_address_that_means_nothing_is_refused_with_what_is_allowed(given: dict[str, str]) -> None:
    with pytest.raises(BadQuery):
        parse(given)


def test_an_address_is_read_as_it_was_written() -> None:
    asked = AskedFlame("functions", "0" * 16, "a b", "thread", "1" * 16, True, True, True, True, "2" * 16, "-own", True)

    assert parse({name: str(value) for name, value in asked.arguments().items() if value is not None}) == asked
    assert not any(AskedFlame().arguments().values())


@pytest.mark.parametrize(
    "given", [{}, {"view": "functions"}, {"view": "modules"}, {"by": "thread"}, {"q": "script"}, {"inverted": "1"}, {"modules": "1"}]
)
def test_hostile_names_are_text_wherever_they_stand(given: dict[str, str]) -> None:
    page = rendered("profiles/_viewer.html", viewer=view(hostile_profile(), parse(given), to))

    tags = Tags(page)
    assert not tags.tags & {"script", "img", "b "}
    assert not {name for name in tags.attributes if name.startswith("on") or name in {"style", "src"}}
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\ufffe\uffff]", page)
    assert "{{ 7" in page or given.get("q")
    assert "49" not in re.findall(r">(\d+)<", page)


def test_every_hostile_function_has_its_callers_and_callees() -> None:
    for row in view(hostile_profile(), AskedFlame(view="functions"), to).page.rows[: len(HOSTILE)]:  # type: ignore[union-attr]
        key = row.href.split("function=")[1][:16]
        page = rendered("profiles/_viewer.html", viewer=view(hostile_profile(), AskedFlame(view="sandwich", function=key), to))
        assert "Called by" in page
        assert not Tags(page).tags & {"script", "img"}


def test_a_profile_without_samples_says_so() -> None:
    assert "Nothing was counted" in rendered("profiles/_viewer.html", viewer=view(profile(), AskedFlame(), to))


def test_processes_of_many_are_called_as_people_know_them() -> None:
    samples = profile("main 1")
    threads = tuple(msgspec.structs.replace(thread, process="rank 0 (process 7)") for thread in samples.threads)
    page = flame_page(msgspec.structs.replace(samples, threads=threads), AskedFlame(by="process"), to)

    assert [box.name for box in page.drawing.boxes] == ["all", "rank 0 (process 7)", "main"]
