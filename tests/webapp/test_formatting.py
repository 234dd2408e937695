"""Values as people read them."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from tests.simulated_ray import hostile
from webapp import formatting
from webapp.formatting import UNKNOWN, visible


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, UNKNOWN),
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10 * 1024, "10.0 KiB"),
        (100 * 1024**2, "100 MiB"),
        (1.5 * 1024**3, "1.50 GiB"),
        (-2048, "-2.00 KiB"),
        (5 * 1024**7, "5120 EiB"),
    ],
)
def test_bytes_have_binary_units_and_three_digits(value: float | None, text: str) -> None:
    assert formatting.bytes_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, UNKNOWN), (0, "0 %"), (0.25, "0.2 %"), (9.96, "10.0 %"), (12.6, "13 %"), (340.0, "340 %")]
)
def test_percents_are_finer_where_they_are_small(value: float | None, text: str) -> None:
    assert formatting.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, UNKNOWN), (0, "0"), (1234567, "1\u202f234\u202f567"), (0.5, "0.5"), (2.0, "2"), (1234.5, "1\u202f234.5")]
)
def test_numbers_set_thousands_apart(value: float | None, text: str) -> None:
    assert formatting.number(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, UNKNOWN),
        (-5, "0 s"),
        (0, "0 ms"),
        (40, "40 ms"),
        (1000, "1.0 s"),
        (12_300, "12 s"),
        (60_000, "1 m"),
        (303_000, "5 m 3 s"),
        (3_600_000, "1 h"),
        (100 * 3_600_000, "4 d 4 h"),
    ],
)
def test_durations_show_their_two_largest_units(milliseconds: float | None, text: str) -> None:
    assert formatting.duration(milliseconds) == text


def test_what_has_no_end_yet_has_lasted_until_now() -> None:
    assert formatting.lasted(1000, None, 4000) == "3.0 s"
    assert formatting.lasted(1000, 2000, 4000) == "1.0 s"
    assert formatting.lasted(None, 2000, 4000) == UNKNOWN


def test_times_are_in_the_chosen_zone_with_its_summer_time() -> None:
    summer = datetime(2026, 7, 1, 12, 0, 5, tzinfo=timezone.utc).timestamp() * 1000
    winter = datetime(2026, 1, 1, 12, 0, 5, tzinfo=timezone.utc).timestamp() * 1000
    assert formatting.moment(summer, "Europe/Berlin") == "2026-07-01 14:00:05"
    assert formatting.moment(winter, "Europe/Berlin") == "2026-01-01 13:00:05"
    assert formatting.moment(summer, "UTC") == "2026-07-01 12:00:05"
    assert formatting.moment(summer, "browser") == "2026-07-01 12:00:05 UTC"  # until the browser has put its own zone
    assert formatting.iso(summer) == "2026-07-01T12:00:05Z"


@pytest.mark.parametrize("milliseconds", [10**18, -(10**18)])
def test_times_beyond_the_calendar_are_numbers(milliseconds: int) -> None:
    assert formatting.moment(milliseconds) == f"{milliseconds} ms"
    assert formatting.iso(milliseconds) == ""


def test_unknown_times_are_a_dash() -> None:
    assert formatting.moment(None) == UNKNOWN
    assert formatting.iso(None) == ""


def test_long_ids_show_their_beginning_and_short_ones_stay_whole() -> None:
    assert formatting.short_id("0123456789abcdef0123") == "01234567…"
    assert formatting.short_id("01000000") == "01000000"
    assert formatting.short_id("") == UNKNOWN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("a\x00b", "a␀b"),
        ("one\r\ntwo", "one␍\ntwo"),
        ("invoice\u202egpj.exe", "invoice⟨U+202E⟩gpj.exe"),
        ("ray\u200bdeck", "ray⟨U+200B⟩deck"),
        ("a\u00a0b", "a b"),
        ("naïve 模型 \U0001f4a5", "naïve 模型 \U0001f4a5"),
        ("a\ud800b", "a⟨U+D800⟩b"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_what_it_is(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", hostile.params())
def test_no_text_can_hide_or_reorder_what_stands_beside_it(text: str) -> None:
    left = set(visible(text)) - {"\n", "\t"}
    assert all(character.isprintable() for character in left)
    visible(text).encode("utf-8")


@pytest.mark.parametrize("text", hostile.params())
def test_shortened_text_is_one_short_line(text: str) -> None:
    line = formatting.shortened(text)
    assert len(line) <= formatting.SHORT_TEXT
    assert "\n" not in line


def test_blanks_alone_are_named_so_that_a_link_of_them_can_be_seen() -> None:
    assert formatting.shortened(" \t\n\u3000") == "(blank)"
    assert formatting.shortened("") == ""


def test_shortened_text_says_that_something_is_left_out() -> None:
    assert formatting.shortened("a" * 100, 10) == "a" * 9 + "…"
    assert formatting.shortened("short", 10) == "short"
    assert formatting.is_long("first\nsecond")
    assert not formatting.is_long("first")


def test_resources_put_cpu_first_and_leave_markers_out() -> None:
    amounts = {"node:127.0.0.1": 1.0, "memory": 3 * 1024**3, "camera": 2.0, "CPU": 2.0, "CPU_group_0_abc": 1.0, "GPU": 0.5}
    assert formatting.resources(amounts) == "CPU 2, GPU 0.5, memory 3.00 GiB, camera 2"
    assert formatting.resources({}) == formatting.resources(None) == UNKNOWN


def test_what_is_used_is_unknown_where_what_is_left_is_unknown() -> None:
    assert formatting.used_resources({"CPU": 4.0}, {"CPU": 1.0}) == [("CPU", 3.0, 4.0)]
    assert formatting.used_resources({"CPU": 4.0}, {}) == [("CPU", 4.0, 4.0)]
    assert formatting.used_resources({"CPU": 4.0}, None) == [("CPU", None, 4.0)]


def test_a_share_of_nothing_or_of_the_unknown_is_unknown() -> None:
    assert formatting.share(1, 4) == 25
    assert formatting.share(1, 0) is None
    assert formatting.share(None, 4) is None


def test_a_sparkline_breaks_where_nothing_was_measured() -> None:
    assert len(formatting.points([1.0, 2.0, None, 3.0, 4.0])) == 2
    assert formatting.points([None, None]) == []
    assert all(0 <= float(point.split(",")[1]) <= 24 for line in formatting.points([500.0, 50.0], top=100) for point in line.split())


def test_a_sum_of_unknowns_is_unknown() -> None:
    class One:
        def __init__(self, value: float | None) -> None:
            self.value = value

    assert formatting.summed([One(1), One(None), One(2)], "value") == 3
    assert formatting.summed([One(None)], "value") is None


def test_cpu_time_says_which_of_both_is_unknown() -> None:
    assert formatting.seconds_in(1.2, 0.3) == "1.2 s user, 300 ms system"
    assert formatting.seconds_in(1.2, None) == "1.2 s user, – system"
    assert formatting.seconds_in(None, None) == UNKNOWN


def test_a_structure_is_shown_as_json_in_any_script() -> None:
    value = {"名": ["<b>", "a\u202eb"]}
    assert json.loads(formatting.pretty(value).replace("⟨U+202E⟩", "\u202e")) == value
    assert "名" in formatting.pretty(value)


def test_what_ray_keeps_in_a_runtime_environment_for_itself_is_left_out() -> None:
    assert formatting.without_private({"_ray_release": "x", "pip": ["numpy"]}) == {"pip": ["numpy"]}
    assert formatting.without_private(None) == {}


def test_few_time_zones_are_offered_on_every_page_and_the_chosen_one_is_among_them() -> None:
    assert formatting.short_time_zones("UTC") == ("browser", "UTC")
    assert formatting.short_time_zones("Asia/Tokyo") == ("browser", "UTC", "Asia/Tokyo")
