"""`raydeck doctor` says what is missing on this machine, and how to get it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from clusterstate.settings import Settings
from tests.private_redis import PrivateRedis
from tests.workers.stub_ray import NODE, SLEEP, stub_ray
from webapp.cli import raydeck
from workers import doctor
from workers.doctor import OK, OPTIONAL, PROBLEM, Finding, examine
from workers.sources import gpu_tracing, jax_tracing


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o700)
    return replace(Settings(), state_dir=state_dir, redis_url="redis://:secret@127.0.0.1:1/0")


def found(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(settings)}


def test_what_is_there_is_said_to_be(settings: Settings) -> None:
    seen = found(settings)
    assert {seen[what].state for what in ("py-spy", "ripgrep", "State folder")} == {OK}
    assert seen["py-spy"].says.startswith("py-spy ")


def test_a_redis_that_is_away_is_a_problem_without_its_password(settings: Settings) -> None:
    redis = found(settings)["Redis"]
    assert (redis.state, "RAYDECK_REDIS_URL" in redis.fix, "secret" in redis.says) == (PROBLEM, True, False)


def test_a_redis_that_answers_is_none(settings: Settings, redis_server: PrivateRedis) -> None:
    assert found(replace(settings, redis_url=redis_server.url))["Redis"].state == OK


def test_missing_programs_are_named_with_what_to_do(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "py_spy", lambda: None)
    monkeypatch.setattr(doctor, "ripgrep", lambda: None)
    seen = found(settings)
    assert (seen["py-spy"].state, seen["ripgrep"].state) == (PROBLEM, PROBLEM)
    assert "pip install py-spy" in seen["py-spy"].fix


def test_what_only_traces_need_is_optional(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tracing, "program_called", lambda name: None)
    monkeypatch.setattr(jax_tracing, "can_collect", lambda: False)
    seen = found(settings)
    assert (seen["dynolog"].state, seen["jax"].state) == (OPTIONAL, OPTIONAL)
    assert "pip install jax xprof" in seen["jax"].fix


def test_a_raylet_of_this_machine_is_looked_at(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stub_ray(tmp_path) as ray:
        ray.start(SLEEP)
        monkeypatch.setattr(doctor, "listed_by", lambda raylet: dict(ray.listed) if raylet.pid == ray.pid else {})
        [tracing] = [one for one in examine(settings) if one.what.startswith("Tracing workers") and NODE[:8] in one.what]
    assert (tracing.state, tracing.says) == (OK, "is allowed")


def test_the_command_ends_with_1_only_if_there_is_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["doctor", "--state-dir", str(settings.state_dir)]
    monkeypatch.setattr(
        doctor, "CHECKS", (lambda settings: iter([Finding("a", OK, "well"), Finding("b", OPTIONAL, "not there", "get it")]),)
    )
    ran = CliRunner().invoke(raydeck, command)
    assert (ran.exit_code, ran.output) == (0, "ok        a: well\noptional  b: not there\n          → get it\n")

    monkeypatch.setattr(doctor, "CHECKS", (lambda settings: iter([Finding("c", PROBLEM, "away", "bring it")]),))
    ran = CliRunner().invoke(raydeck, [*command, "--json"])
    assert ran.exit_code == 1
    assert json.loads(ran.output) == [{"what": "c", "state": "problem", "says": "away", "fix": "bring it"}]
