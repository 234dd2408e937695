"""What stands where in a timeline: lanes, windows, colours, blocks. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import MultiDict

from clusterstate.model import Node
from clusterstate.query import BadQuery
from clusterstate.store.timeline import Cell, Match, Span, Track, Window
from webapp.formatting import tick_label
from webapp.timeline import asking, colours, window
from webapp.timeline.drawing import Pen, without
from webapp.timeline.lanes import MOST_LANES, Piece, lay, level
from webapp.timeline.rows import ROWS, page_of

T = 1_700_000_000_000
WINDOW = Window(T, T + 1000)
STYLE = Path("static/css/timeline.css")


def span(start: int, end: int | None, key: int = 1, **fields: Any) -> Span:
    """A task of worker 1, milliseconds after T."""
    whole = Span(key, 1, "0" * 48, 0, "step", "FINISHED", None, None, T + start, T + end if end is not None else None, None)
    return whole._replace(**{"state": "RUNNING" if end is None else "FINISHED", **fields})


def pen(**fields: Any) -> Pen:
    return replace(Pen(WINDOW, T + 900, 0, "name", shows_waits=False, zone="UTC", most=10), **fields)


def asked(**given: str) -> asking.Asked:
    return asking.read(MultiDict({name.rstrip("_"): value for name, value in given.items()}))


# --- Lanes -----------------------------------------------------------------------------------------------------------


def lanes(*spans: tuple[float, float], tolerance: float = 0) -> list[int]:
    laid = lay([Piece(start, end, number) for number, (start, end) in enumerate(spans)], tolerance)
    return [lane for _, lane in sorted(laid.pieces, key=lambda item: item[0].what)]


def test_what_overlaps_stands_in_lanes_of_its_own() -> None:
    assert lanes((0, 100), (100, 200), (200, 300)) == [0, 0, 0]
    assert lanes((0, 100), (10, 20), (15, 30), (20, 40), (100, 120)) == [0, 1, 2, 1, 0]
    assert lanes((0, 0), (0, 0), (5, 5)) == [0, 1, 0]


def test_an_end_that_comes_a_little_late_makes_no_lane() -> None:
    assert lanes((0, 103), (100, 200), tolerance=5) == [0, 0]
    assert lanes((0, 106), (100, 200), tolerance=5) == [0, 1]
    assert lanes((99, 103), (100, 200), tolerance=5) == [0, 1], "it would be hidden"


def test_beyond_the_last_lane_pieces_are_left_over() -> None:
    laid = lay([Piece(number, 100, number) for number in range(MOST_LANES + 3)], 0)
    assert laid.lanes == MOST_LANES
    assert [piece.what for piece in laid.left_over] == [8, 9, 10]


def test_lanes_never_overlap_by_more_than_is_tolerated() -> None:
    pieces = [Piece((number * 37) % 997, (number * 37) % 997 + (number * 13) % 61, number) for number in range(400)]
    laid = lay(pieces, 3, most=100)
    assert not laid.left_over
    for lane in range(laid.lanes):
        of_lane = [piece for piece, number in laid.pieces if number == lane]
        assert all(last.end_ms - 3 <= piece.start_ms for last, piece in pairwise(of_lane))


def test_blocks_are_as_full_as_they_are_to_the_fullest() -> None:
    assert [level(count, 1000) for count in (1000, 251, 250, 63, 62, 16, 15, 1)] == [4, 4, 3, 3, 2, 2, 1, 1]
    assert level(1, 1) == 4


# --- Windows ---------------------------------------------------------------------------------------------------------


def test_a_window_is_what_the_url_says() -> None:
    extent = Window(T, T + 60_000)
    later = T + 3_600_000
    assert window.window_of(asked(from_=str(T), to=str(T + 50)), extent, later, runs=True) == (T, T + 50)
    assert window.window_of(asked(span="10000"), extent, later + 1, runs=False) == (later - 9_000, later + 1000)
    assert window.window_of(asked(from_=str(later - 10_000)), extent, later, runs=False) == (later - 10_000, later)
    fitted = window.window_of(asked(), extent, later, runs=False)
    assert fitted == (T, T + 61_200)
    assert window.window_of(asked(), extent, later, runs=True) == (T, later - later % -7200)
    assert window.window_of(asked(), None, later, runs=False) == (later - 60_000, later)


def test_a_following_window_moves_by_what_can_be_seen() -> None:
    hour, start = 3_600_000, T - T % 7200
    assert {window.rounded_up(start + second * 1000, hour) for second in range(1, 8)} == {start + 7200}
    assert window.rounded_up(T + 1, 1000) == T + 1000


def test_zooming_keeps_the_middle_and_moving_the_length() -> None:
    assert window.zoomed(WINDOW, 0.5) == (T + 250, T + 750)
    assert window.zoomed(WINDOW, 2) == (T - 500, T + 1500)
    assert window.zoomed(Window(T, T + 12), 0.5).span_ms == asking.SHORTEST_MS
    assert window.zoomed(Window(0, asking.LONGEST_MS), 2) == (0, asking.LONGEST_MS)
    assert window.moved(WINDOW, -0.5) == (T - 500, T + 500)
    assert window.moved(Window(100, 1100), -0.5) == (0, 1000)


@pytest.mark.parametrize("span_ms", [10, 77, 1000, 12_345, 3_600_000, 86_400_000 * 40, asking.LONGEST_MS])
def test_the_axis_has_a_few_round_moments(span_ms: int) -> None:
    found = window.ticks(Window(T, T + span_ms))
    assert 1 <= len(found) <= window.MOST_TICKS + 1
    gaps = {second.at_ms - first.at_ms for first, second in pairwise(found)}
    assert len(gaps) <= 1
    assert all(tick_label(tick.at_ms, tick.detail) for tick in found)


def test_labels_of_the_axis_say_what_differs() -> None:
    assert tick_label(T + 1234, "millisecond") == "22:13:21.234"
    assert tick_label(T, "second") == "22:13:20"
    assert tick_label(T, "minute", "Asia/Kathmandu") == "03:58"
    assert tick_label(T, "day") == "2023-11-14"
    assert tick_label(2**60, "day") == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"from_": "x", "to": "5"}, "from is 'x'; it takes Unix milliseconds: a whole number from 0 to"),
        ({"from_": "-1", "to": "5"}, "it takes Unix milliseconds"),
        ({"from_": "1", "to": "99999999999999999999"}, "it takes Unix milliseconds"),
        ({"from_": "1000", "to": "1000"}, "from must be before to"),
        ({"from_": "1000", "to": "1005"}, "10 ms to ten years"),
        ({"to": "5"}, "to needs from beside it"),
        ({"span": "5", "from_": "1"}, "span is for a window that ends now"),
        ({"span": "ten"}, "it takes milliseconds: a whole number from 10 to"),
        ({"span": "1"}, "10 ms to ten years"),
        ({"page": "first"}, "page is 'first'"),
        ({"colour": "job"}, "colour is 'job'; it must be name or state."),
        ({"show": "all"}, "it must be waits"),
        ({"job_id": "1", "node_id": "2"}, "takes one of job_id, node_id, worker_id, actor_id at a time, not job_id and node_id"),
        ({"sort": "name"}, "has no argument 'sort'. Allowed are: from, to, span"),
        ({"q": "size:5"}, "names a column 'size'"),
        ({"q": "x" * 3000}, "2000 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_allowed(given: dict[str, str], told: str) -> None:
    with pytest.raises(BadQuery, match=re.escape(told)):
        asked(**given)


def test_links_keep_the_rest_of_the_question() -> None:
    one = asked(from_="1000", to="2000", q="load", colour="state", page="3", job_id="01")
    assert one.at(WINDOW) == f"?from={T}&to={T + 1000}&q=load&colour=state&job_id=01"
    assert "from" not in one.following(5000)
    assert "span=5000" in one.following(5000)
    assert "page=4" in one.href(page=4)
    folded = asking.read(MultiDict([("closed", "n1"), ("closed", "n2")]))
    assert folded.toggled("n1") == "?closed=n2"
    assert folded.toggled("n3") == "?closed=n1&closed=n2&closed=n3"
    assert asking.read(MultiDict([("closed", "all"), ("job_id", "1")])).toggled("n1") == "?node_id=n1"


# --- Bars and blocks -------------------------------------------------------------------------------------------------


def test_a_bar_stands_at_its_part_of_the_window() -> None:
    drawn = pen().draw([span(100, 350), span(-500, 50, 2), span(960, 5000, 3)], [])
    assert [(bar.x, bar.width, bar.y) for bar in drawn.bars] == [
        ("0.000%", "5.000%", 2),
        ("10.000%", "25.000%", 2),
        ("96.000%", "4.000%", 2),
    ]
    assert [bar.label for bar in drawn.bars] == ["step"] * 3
    assert drawn.height == 22


def test_a_bar_says_how_its_task_is() -> None:
    done, failed, running, lost = (
        pen().draw([one], []).bars[0]
        for one in (
            span(0, 250),
            span(0, 250, state="FAILED", error_type="WORKER_DIED"),
            span(0, None),
            span(500, None, state="END_UNKNOWN"),
        )
    )
    assert done.title == "step, FINISHED, 250 ms, started 2023-11-14 22:13:20"
    assert "FAILED (WORKER_DIED)" in failed.title
    assert "has-failed" in failed.look
    assert running.width == "90.000%", "until now"
    assert "900 ms so far" in running.title
    assert "runs" in running.look
    assert "nobody reported its end" in lost.title
    assert "end-unknown" in lost.look
    assert lost.width.isdigit()


def test_waiting_is_drawn_when_it_is_asked_for() -> None:
    waited = span(500, 600, creation_ms=T + 200)
    assert pen().draw([waited], []).bars[0].wait_x is None
    assert pen(shows_waits=True).draw([waited], []).bars[0].wait_x == "20.000%"
    assert pen(shows_waits=True).draw([waited._replace(creation_ms=T - 10_000)], []).bars[0].wait_x == "0.000%"


def test_short_tasks_are_counted_once_in_blocks() -> None:
    cells = [Cell(1, 0, 3, "step"), Cell(1, 5, 1, "step"), Cell(2, 5, 2, None)]
    drawn = [span(0, 400), span(501, None, 2), span(-20, 30, 3)]
    its_pen = pen(columns=10)
    assert without(cells, drawn, its_pen.column_of, T) == [Cell(1, 0, 2, "step"), Cell(2, 5, 2, None)]


def test_a_block_leads_closer_and_says_what_it_counts() -> None:
    its_pen = pen(columns=10, failed=frozenset({(1, 3)}))
    one, other = its_pen.draw([], [Cell(1, 2, 1, "step"), Cell(1, 3, 12_000, None)]).blocks
    assert (one.x, one.width, one.window) == ("20.000%", "10.000%", Window(T + 200, T + 300))
    assert one.title == "1 task started here, 2023-11-14 22:13:20: look closer"
    assert "12\u202f000 tasks started here, some failed" in other.title
    assert (one.has_failed, other.has_failed) == (False, True)
    assert "hue-none" in other.look


def test_what_is_not_found_is_dim_where_it_was_looked_for() -> None:
    places = pen(columns=10).places([Match(9, 1, T + 350)])
    sought = pen(columns=10, found=frozenset({7}), searched=frozenset({1}), found_in=places)
    looks = [bar.look.split()[-1] for bar in sought.draw([span(0, 200, 7), span(200, 400, 8)], []).bars]
    assert looks == ["found", "dim"]
    blocks = sought.draw([], [Cell(1, 3, 5, None), Cell(1, 4, 5, None), Cell(2, 8, 5, None)]).blocks
    assert [block.look.split()[-1] for block in blocks] == ["found", "dim", "level-4"]


def test_workers_of_a_folded_node_are_counted_together() -> None:
    its_pen, cells = pen(columns=10, failed=frozenset({(2, 1), (9, 4)})).together(
        [Cell(1, 1, 2, "a"), Cell(2, 1, 3, "a"), Cell(2, 4, 1, "b")]
    )
    assert cells == [Cell(None, 1, 5, "a"), Cell(None, 4, 1, "b")]
    assert its_pen.failed == {(None, 1)}


def test_more_at_once_than_there_are_lanes_are_counted() -> None:
    drawn = pen().draw([span(0, 1000, key) for key in range(MOST_LANES + 5)], [])
    assert len(drawn.bars) == MOST_LANES
    assert [block.title for block in drawn.blocks] == ["5 more at the same time, 2023-11-14 22:13:20: look closer"]
    assert drawn.height == (MOST_LANES + 1) * 22


# --- Rows ------------------------------------------------------------------------------------------------------------


def test_rows_go_by_node_and_are_paged() -> None:
    nodes = {
        name: Node(name, "ALIVE", node_ip=ip, is_head_node=name == "head")
        for name, ip in (("late", "10.0.0.10"), ("early", "10.0.0.9"), ("head", "10.0.0.99"))
    }
    tracks = [Track(n, f"w{n}", name, None) for n, name in enumerate(["late", "early", "gone", "head", "head"])]
    tracks.append(Track(None, None, None, None))

    page = page_of(tracks, nodes, (), 1)
    assert [unit.tracks[0].worker_id for unit in page.units] == ["w3", "w4", "w1", "w0", "w2", None]

    folded = page_of(tracks, nodes, ("head",), 1)
    assert [(unit.node_id, unit.is_closed, len(unit.tracks)) for unit in folded.units][:2] == [("head", True, 2), ("early", False, 1)]
    assert all(unit.is_closed for unit in page_of(tracks, nodes, ("all",), 1).units)

    many = [Track(n, f"w{n}", "head", None) for n in range(ROWS + 5)]
    last = page_of(many, nodes, (), 99)
    assert (last.number, last.pages, last.first, last.total, len(last.units)) == (2, 2, ROWS + 1, ROWS + 5, 5)


# --- Colours ---------------------------------------------------------------------------------------------------------


def test_a_name_has_one_colour_and_names_have_many() -> None:
    assert colours.hue("train") == colours.hue("train")
    assert len({colours.hue(f"stage_{number}") for number in range(200)}) == colours.HUES
    assert colours.hue(None) == "hue-none"
    assert colours.hue("\udc80").startswith("hue-")


def test_the_legend_names_the_most_frequent() -> None:
    keys, more = colours.legend([*(["a"] * 3), "b", None, *(f"x{n}" for n in range(20))], "name")
    assert [key.label for key in keys[:1]] == ["a"]
    assert (len(keys), more) == (colours.MOST_NAMED, 22 - colours.MOST_NAMED)
    assert [key.look for key in colours.legend(["running", "failed", "running"], "state")[0]] == ["running", "failed"]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_texts_on_bars_can_be_read_in_both_themes() -> None:
    """WCAG AA: 4.5 for text on a bar, 3 for a bar on the card."""
    found = re.findall(r"--(bar-ink|hue-\d+): (#[0-9a-f]{6})", STYLE.read_text())
    themes = [dict(found[place : place + colours.HUES + 1]) for place in range(0, len(found), colours.HUES + 1)]
    assert len(themes) == 3, "light, dark by preference, dark by choice"
    assert themes[1] == themes[2]
    for theme, card in ((themes[0], "#ffffff"), (themes[1], "#171e27")):
        assert len(theme) == colours.HUES + 1
        for name, colour in theme.items():
            if name != "bar-ink":
                assert contrast(colour, theme["bar-ink"]) >= 4.5, name
                assert contrast(colour, card) >= 3, name
