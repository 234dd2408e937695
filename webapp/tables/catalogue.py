"""Every table there is, by name: what the web pages, their formats and the command line share."""

from __future__ import annotations

from webapp.tables.actors import ACTORS
from webapp.tables.framework import Table
from webapp.tables.jobs import JOBS
from webapp.tables.nodes import NODES
from webapp.tables.placement_groups import PLACEMENT_GROUPS
from webapp.tables.tasks import TASKS
from webapp.tables.workers import WORKERS

TABLES: dict[str, Table] = {table.name: table for table in (NODES, JOBS, TASKS, ACTORS, WORKERS, PLACEMENT_GROUPS)}
