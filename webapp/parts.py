"""What the app is put together from, kept with the app: nothing is global."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from clusterstate.log_follows import LogFollows
    from clusterstate.node_questions import NodeQuestions
    from clusterstate.operation_requests import OperationRequests
    from clusterstate.profiles import Profiles
    from clusterstate.settings import Settings
    from clusterstate.store.fleet_reader import Fleet
    from webapp.assets import Assets
    from webapp.auth import Authentication
    from webapp.exposition import RequestCounts
    from webapp.followers import Followers
    from webapp.fragment_cache import FragmentCache
    from webapp.profiling.samples import HeldSamples
    from webapp.routes import Route
    from webapp.security import HostList

NAME = "raydeck"


@dataclass(frozen=True)
class Parts:
    """One app's parts."""

    settings: Settings
    fleet: Fleet
    auth: Authentication
    operations: OperationRequests
    questions: NodeQuestions
    follows: LogFollows
    profiles: Profiles
    samples: HeldSamples
    followers: Followers
    fragments: FragmentCache
    counts: RequestCounts
    assets: Assets
    hosts: HostList
    routes: Mapping[str, Route]
    clock: Callable[[], float]  # Unix seconds
    redis_is_reachable: Callable[[], bool]
    build: str  # of templates, styles and scripts: fragments of another build are not reused

    def now(self) -> float:
        return self.clock()


def parts() -> Parts:
    """The parts of the app that answers this request."""
    found: Parts = current_app.extensions[NAME]
    return found
