"""Helpers of the real-Ray suites say what they compared when they fail; and the demo that those look at which start none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running import Running, raydeck_up

pytest.register_assert_rewrite("tests.ray.whole_picture", "tests.ray.timing", "tests.ray.killing", "tests.ray.onlookers")


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    """One `raydeck up --demo` for all tests of a file."""
    with raydeck_up("--demo") as running:
        yield running
