"""compose.yaml, Dockerfile and the systemd units: true to the commands and settings as they are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterstate.settings import describe
from webapp.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ROLES = ("web", "collect", "node", "projector")
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
VARIABLES = {variable for variable, _option, _default, _sentence in describe()}
OPTIONS = {option for _variable, option, _default, _sentence in describe()}


def test_every_role_is_a_service_that_runs_its_command() -> None:
    assert set(SERVICES) == {*ROLES, "redis", "nginx"}
    assert {SERVICES[role]["command"][0] for role in ROLES} == set(ROLES)
    assert set(ROLES) <= set(COMMANDS)


@pytest.mark.parametrize("role", ROLES)
def test_a_service_is_given_settings_that_exist(role: str) -> None:
    given = {name for name in SERVICES[role]["environment"] if name.startswith("RAYDECK_")}
    assert given
    assert given <= VARIABLES


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_change_nothing_but_its_state(role: str) -> None:
    service = SERVICES[role]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


def test_redis_asks_for_a_password_keeps_what_it_is_told_and_is_not_offered_to_the_network() -> None:
    configuration = COMPOSE["configs"]["redis"]["content"]
    assert re.search(r"^requirepass \$\{REDIS_PASSWORD:\?", configuration, re.MULTILINE)
    assert re.search(r"^appendonly yes$", configuration, re.MULTILINE)
    assert re.search(r"^maxmemory-policy noeviction$", configuration, re.MULTILINE)
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["redis"]["ports"])


def test_only_nginx_can_reach_the_pages() -> None:
    assert SERVICES["nginx"]["network_mode"] == "service:web"
    assert "RAYDECK_HOST" not in SERVICES["web"]["environment"], "it listens on 127.0.0.1 of the network that it shares with nginx"
    assert all(port.split(":")[-1] in {"80", "443"} for port in SERVICES["web"]["ports"])


def test_what_the_image_copies_is_there() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    sources = [name for line in lines for name in line.split()[:-1]]
    assert sources
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_image_does_not_run_as_root() -> None:
    assert re.search(r"^USER raydeck$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_exists_and_does_not_repeat_wrong_settings(unit: Path) -> None:
    text = unit.read_text("utf-8")
    [start] = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    program, command, *rest = shlex.split(start)
    assert Path(program).name == "raydeck"
    assert command in COMMANDS
    assert {word for word in rest if word.startswith("--")} <= OPTIONS
    assert re.search(r"^RestartPreventExitStatus=.*\b78\b", text, re.MULTILINE)
