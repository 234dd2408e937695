"""Two profiles beside each other: shares, not counts, and nothing is lost of either."""

from __future__ import annotations

import pytest

from clusterstate.query import BadQuery
from clusterstate.stacks import BYTES
from tests.webapp.flame.profiles import Tags, hostile_profile, profile, random_profile, rendered, to
from webapp.flame.asking import AskedFlame
from webapp.flame.comparing import changes, compare, difference_page
from webapp.flame.drawing import change_look, sign
from webapp.flame.tree import Shape
from webapp.flame.units import points


@pytest.mark.parametrize("inverted", [False, True])
def test_one_tree_holds_all_of_both(inverted: bool) -> None:
    first, second = random_profile(1), random_profile(2, stacks=90)

    tree = compare(first, second, Shape(inverted=inverted))

    assert (tree.total_before[0], tree.total[0]) == (first.total, second.total)


def test_a_profile_has_not_changed_against_itself_nor_against_twice_itself() -> None:
    first, twice = profile("main;load 3", "main 1"), profile("main;load 6", "main 2")

    page = difference_page(first, twice, AskedFlame(), to)

    assert {box.look for box in page.drawing.boxes} == {"same"}
    assert all(row.own_change == row.total_change == 0 for row in changes(first, twice))


def test_what_takes_a_greater_share_has_grown_and_says_so_in_words() -> None:
    page = difference_page(profile("main;load 50", "main;train 50"), profile("main;load 160", "main;train 40"), AskedFlame(), to)

    drawn = {box.name: (round(box.width, 2), box.look, box.title.split("\n")[-1]) for box in page.drawing.boxes}
    assert drawn["▲ load"] == (0.8, "grown-2", "+30.0\u202fpp: from 50.0\u202f% (50 samples) to 80.0\u202f% (160 samples)")
    assert drawn["▼ train"] == (0.2, "shrunk-2", "−30.0\u202fpp: from 50.0\u202f% (50 samples) to 20.0\u202f% (40 samples)")
    assert [(row.name, row.own_change) for row in page.rows] == [
        ("load", "+30.0\u202fpp"), ("train", "−30.0\u202fpp"), ("main", "±0.0\u202fpp"),
    ]  # fmt: skip


def test_what_is_gone_is_told_and_can_be_seen_in_the_widths_of_the_first() -> None:
    first, second = profile("main;old 1", "main;kept 3"), profile("main;kept 3", "main;new 5")

    now = difference_page(first, second, AskedFlame(), to)
    then = difference_page(first, second, AskedFlame(first=True), to)

    assert now.missing == "25.0\u202f%"
    assert "▼ old" not in {box.name for box in now.drawing.boxes}
    assert {box.name: round(box.width, 2) for box in then.drawing.boxes}["▼ old"] == 0.25
    assert then.missing == "62.5\u202f%"


def test_a_frame_that_these_widths_do_not_have_is_not_zoomed_to() -> None:
    first, second = profile("main;old 1", "main;kept 3"), profile("main;kept 3")
    old = next(box for box in difference_page(first, second, AskedFlame(first=True), to).drawing.boxes if "old" in box.name)
    at = old.href.split("at=")[1][:16]

    page = difference_page(first, second, AskedFlame(at=at), to)

    assert page.drawing.at == 0
    assert page.note


def test_samples_are_not_compared_with_bytes() -> None:
    with pytest.raises(BadQuery, match="samples"):
        difference_page(profile("main 1"), profile("main 1", unit=BYTES), AskedFlame(), to)


@pytest.mark.parametrize(
    ("before", "after", "look", "mark"),
    [
        (0.2, 0.2, "same", "="),
        (0.2, 0.25, "grown-1", "▲"),
        (0.2, 0.9, "grown-3", "▲"),
        (0.4, 0.0, "shrunk-3", "▼"),
        (0, 0.0001, "same", "="),
    ],
)
def test_a_change_has_a_sign_beside_its_colour(before: float, after: float, look: str, mark: str) -> None:
    assert (change_look(before, after), sign((before, after))) == (look, mark)


def test_points_have_a_sign() -> None:
    assert [points(0.1, 0.2), points(0.2, 0.1), points(0.1, 0.1)] == ["+10.0\u202fpp", "−10.0\u202fpp", "±0.0\u202fpp"]


def test_hostile_names_are_text_in_a_difference() -> None:
    page = rendered("profiles/_difference.html", page=difference_page(hostile_profile(), profile("main 1"), AskedFlame(first=True), to))

    assert not Tags(page).tags & {"script", "img"}


def test_nothing_is_compared_with_nothing() -> None:
    page = rendered("profiles/_difference.html", page=difference_page(profile(), profile("main 1"), AskedFlame(), to))

    assert "nothing to compare" in page
