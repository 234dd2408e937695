"""`raydeck list` in the terminal: the same rows as the page, from the index alone."""

from __future__ import annotations

import csv
import io
import json

import pytest
import redis
from click.testing import CliRunner, Result

from clusterstate.settings import Settings
from tests.built_cluster import BuiltCluster
from webapp.commands.tables import list_table


@pytest.fixture
def cluster(redis_client: redis.Redis, settings: Settings) -> BuiltCluster:
    return BuiltCluster(redis_client, settings)


def listed(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(list_table, [*arguments, "--state-dir", str(settings.state_dir)])


def test_a_table_is_listed_narrowed_sorted_and_counted(cluster: BuiltCluster, settings: Settings) -> None:
    dead = cluster.with_actor(state="DEAD", class_name="Flaky")
    cluster.with_actor(state="ALIVE")
    result = listed(settings, "actors", "state=DEAD", "--sort=-start_time_ms")
    assert result.exit_code == 0
    assert dead.actor_id in result.stdout
    assert len(result.stdout.splitlines()) == 2
    assert "1 rows of 1 that match, 2 in all; fresh" in result.stderr


def test_formats_for_programs_hold_every_column(cluster: BuiltCluster, settings: Settings) -> None:
    cluster.with_node(hostname="alpha", labels={"zone": "a"})
    answer = json.loads(listed(settings, "nodes", "--json").stdout)
    assert [row["hostname"] for row in answer["rows"]] == ["alpha"]
    assert answer["total"] == answer["matching"] == 1
    assert answer["next"] is None
    rows = list(csv.DictReader(io.StringIO(listed(settings, "nodes", "--csv").stdout)))
    assert rows[0].keys() >= {"node_id", "hostname", "labels"}


def test_what_is_cut_goes_on_with_after(cluster: BuiltCluster, settings: Settings) -> None:
    names = {cluster.with_job().job_key for _ in range(5)}
    first = json.loads(listed(settings, "jobs", "--limit", "3", "--json").stdout)
    second = json.loads(listed(settings, "jobs", "--limit", "3", "--after", first["next"], "--json").stdout)
    assert {row["job_key"] for row in [*first["rows"], *second["rows"]]} == names
    assert second["next"] is None


def test_hostile_text_does_nothing_to_the_terminal(cluster: BuiltCluster, settings: Settings) -> None:
    cluster.with_actor(class_name="\x1b[2J\nforged  row\u202e")
    result = listed(settings, "actors")
    assert len(result.stdout.splitlines()) == 2
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["objects"], "Tables are: "),
        (["actors", "nosuch=1"], "has no column"),
        (["actors", "state"], "column=value"),
        (["actors", "sort=pid"], "--sort"),
        (["actors", "--sort", "nosuch"], "cannot be sorted"),
        (["actors", "--limit", "lots"], "whole number"),
    ],
)
def test_mistakes_say_what_is_allowed(cluster: BuiltCluster, settings: Settings, arguments: list[str], sentence: str) -> None:
    result = listed(settings, *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_an_unknown_cluster_or_an_empty_folder_is_exit_code_1(settings: Settings) -> None:
    assert "No cluster is known" in listed(settings, "actors").stderr
    assert listed(settings, "actors").exit_code == 1


def test_the_cluster_must_be_named_where_there_are_several(cluster: BuiltCluster, redis_client: redis.Redis, settings: Settings) -> None:
    other = BuiltCluster(redis_client, settings, name="other")
    other.with_node(hostname="beta")
    assert listed(settings, "nodes").exit_code == 2
    assert "--cluster: demo, other" in listed(settings, "nodes").stderr
    assert "beta" in listed(settings, "nodes", "--cluster", "other").stdout
    assert listed(settings, "nodes", "--cluster", "nosuch").exit_code == 1
