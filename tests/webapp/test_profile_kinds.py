"""The kinds of profile hang together: each has a name that is known, a probe for its options, and words for how it may end."""

from __future__ import annotations

import pytest

from clusterstate.probes import PROBES
from clusterstate.profile_answers import ENDS, Abilities, WhyNot
from clusterstate.profiles import KINDS, Target
from webapp.profiling.asking import read_options
from webapp.profiling.kinds import ALL, Kind, OnHost
from webapp.profiling.standing import NOTHING, WORDS, WORDS_OF_ENDS

TARGETS = (Target("a" * 56, 7, 1), Target("b" * 56, 8, 2))


def test_every_kind_that_is_kept_can_be_asked_for() -> None:
    assert tuple(kind.name for kind in ALL) == KINDS


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_each_kind_becomes_a_probe_with_the_options_of_its_form(kind: Kind) -> None:
    ticked = {name: "1" for name, option in kind.options.items() if not hasattr(option, "unit") and name != "nonblocking"}
    options = read_options(kind, ticked)
    probe = kind.probe(OnHost(TARGETS if kind.of_many else TARGETS[:1], options, ""))

    assert type(probe) in PROBES
    for name, value in options.items():
        told = {"duration": "duration_s", "rate": "rate_hz"}.get(name, name)
        assert getattr(probe, told) == value


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_each_kind_says_what_is_in_its_own_way(kind: Kind) -> None:
    name = kind.name if kind.name in Abilities.__struct_fields__ else "stacks"

    assert kind.in_the_way(Abilities(**{name: WhyNot("IDLE")})) == WhyNot("IDLE")
    assert kind.in_the_way(Abilities()) is None


def test_every_option_and_every_end_has_its_words() -> None:
    switches = {name for kind in ALL for name, option in kind.options.items() if not hasattr(option, "unit")}

    assert switches - {"subprocesses"} <= set(WORDS)
    assert set(WORDS_OF_ENDS) == set(NOTHING) == ENDS
