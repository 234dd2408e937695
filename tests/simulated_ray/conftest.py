"""A simulated cluster and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulated_ray import SimulatedRay
from tests.simulated_ray.client import Client


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    """A small cluster: two nodes and a job."""
    with SimulatedRay(nodes=2, jobs=1) as cluster:
        yield cluster


@pytest.fixture
def client(ray: SimulatedRay) -> Iterator[Client]:
    with Client(ray.address) as connected:
        yield connected
