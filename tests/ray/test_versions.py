"""Ray 2.53 and 2.60, default and minimal install, official dashboard on and off, token authentication on and off."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ray_environments
from tests.ray.told_driver import told_driver
from tests.ray.whole_picture import show_whole_picture
from tests.running import raydeck_up
from tests.workers.real_ray_cluster import real_ray

pytestmark = pytest.mark.versions
ROOT = Path(__file__).resolve().parents[2]
SEEN_WITHIN_S = 10.0
COMBINATIONS = list(itertools.product(("2.53", "2.60"), ("default", "minimal"), (True, False), (True, False)))


def name_of(version: str, install: str, dashboard: bool, token: bool) -> str:
    return f"Ray {version} {install}, dashboard {'on' if dashboard else 'off'}, token {'on' if token else 'off'}"


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Lines of the table that docs/versions.md shows; written at the end, also to the file VERSIONS_TABLE names."""
    lines: list[str] = []
    yield lines
    head = ["| Ray | Install | Official dashboard | Token | Seen after, at most | Slowest |", "| --- | --- | --- | --- | --- | --- |"]
    text = "\n".join([*head, *lines]) + "\n"
    sys.stdout.write("\n" + text)
    if path := os.environ.get("VERSIONS_TABLE"):
        Path(path).write_text(text, "utf-8")


@pytest.mark.parametrize(("version", "install", "dashboard", "token"), COMBINATIONS, ids=[name_of(*one) for one in COMBINATIONS])
def test_a_cluster_of_this_kind_is_shown(version: str, install: str, dashboard: bool, token: bool, table: list[str]) -> None:
    python = ray_environments.python(ROOT, f"{version}-{install}")
    secret = "a-token-of-this-test" if token else None
    with (
        real_ray(secret, python=python, dashboard=dashboard, nodes=1) as ray,
        raydeck_up("--address", ray.address, environ=ray.environ, python=python) as running,
        told_driver({**ray.environ, "RAY_ADDRESS": ray.address}, python) as driver,
    ):
        assert driver.ask("me")["ray_version"].startswith(version)
        took = show_whole_picture(running, driver, dashboard=dashboard, token=secret)
    slowest = max(took, key=lambda what: took[what])
    words = (version, install, "on" if dashboard else "off", "on" if token else "off", f"{took[slowest]:.1f} s", slowest)
    table.append(f"| {' | '.join(words)} |")

    assert took[slowest] < SEEN_WITHIN_S
