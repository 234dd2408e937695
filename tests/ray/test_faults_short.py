"""What is killed comes back, and who looks on hardly notices: three of the cases of test_faults.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ray.killing import FRESH_WITHIN_S, MAY_BREAK_OFF, survives_kill
from tests.ray.onlookers import NO_ANSWER, Person
from tests.ray.timing import say_times
from tests.running import Running, raydeck_up

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def attached(demo: Running) -> Iterator[Running]:
    """A second Raydeck on the demo's cluster."""
    environ = {**demo.ready["ray_env"], "HOME": str(demo.folder)}
    with raydeck_up("--address", demo.ready["ray_address"], environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def person(attached: Running) -> Person:
    return Person(attached)


@pytest.mark.parametrize(("role", "child"), [("redis", False), ("collector", False), ("web", True)])
def test_a_killed_process_is_hardly_noticed(attached: Running, person: Person, role: str, child: bool) -> None:
    took, onlookers = survives_kill(attached, person, role, child)
    say_times({f"fresh after {role} was killed": [took]})

    assert onlookers.failures() == []
    assert onlookers.statuses().get(NO_ANSWER, 0) <= (MAY_BREAK_OFF if role == "web" else 0)
    assert took < FRESH_WITHIN_S
