"""How long tasks ran, by name."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate.resources import TASKS
from clusterstate.store.durations import Durations
from webapp.scope import Scope
from webapp.showing import show
from webapp.task_source import Source, source_of

SHOWN = 200


@dataclass(frozen=True)
class DurationsPage:
    """All that tasks/durations.html may use."""

    durations: list[Durations]
    source: Source


def show_durations(scope: Scope) -> Response:
    """Of all jobs together; a job's own are on its page."""
    return show("tasks/durations.html", "tasks/_durations_page.html", scope, (TASKS.name,), lambda: _load(scope))


def _load(scope: Scope) -> DurationsPage:
    return DurationsPage(scope.reader.durations(limit=SHOWN), source_of(scope.reader))
