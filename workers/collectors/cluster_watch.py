"""What every part of one watch over a cluster shares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from clusterstate.settings import Settings
from workers.collectors.cluster_polls import Sources
from workers.collectors.cluster_store import Store
from workers.sources.gcs import GcsClient

ASKED_AT_ONCE = 16
"""Questions about single rows that are under way together: 0.3 ms of the GCS each."""
RESOLVED_A_TIME = 2000
"""Rows looked up one by one after a gap, at most; the others wait for the next round."""


@dataclass
class Watch:
    """One connection to one session's GCS, and where what it says goes. Thrown away when the connection is lost."""

    gcs: GcsClient
    store: Store
    settings: Settings
    session: str
    sources: Sources = field(default_factory=Sources)
    now: Callable[[], float] = time.time
