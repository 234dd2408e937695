"""`raydeck list`: any table in the terminal, from this host's index, by the same definition as the page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterstate import paths
from clusterstate.query import BadQuery, NotFound
from clusterstate.settings import Settings
from webapp.commands.state import settings_of, state_dir_option

if TYPE_CHECKING:
    from clusterstate.query import Page
    from clusterstate.store.reader import Freshness, SessionReader
    from webapp.tables.framework import Table

OWN_ARGUMENTS = ("q", "sort", "limit", "after", "before", "columns")

DEADLINE_MS = 10_000
"""Nobody else waits meanwhile, unlike in the web app."""


@click.command("list")
@click.argument("table")
@click.argument("filters", nargs=-1, metavar="[COLUMN=VALUE]...")
@click.option("--cluster", default=None, help="Its name. Not needed where there is one.")
@click.option("--session", default=None, help="An ended session. Else the current one.")
@click.option("-q", "--query", "words", default="", help="What the query box of the page takes.")
@click.option("--sort", default="", help="Column to sort by; with - in front the other way round (--sort=-pid).")
@click.option("--limit", default="", metavar="NUMBER", help="Rows at most.")
@click.option("--after", default="", help="Goes on where an earlier answer ended.")
@click.option("--columns", default="", metavar="A,B,...", help="Only these columns.")
@click.option("--json", "output", flag_value="json", help="As <table>.json of the web app.")
@click.option("--csv", "output", flag_value="csv", help="As <table>.csv of the web app.")
@state_dir_option
def list_table(
    table: str,
    filters: tuple[str, ...],
    cluster: str | None,
    session: str | None,
    words: str,
    sort: str,
    limit: str,
    after: str,
    columns: str,
    output: str | None,
    state_dir: Path | None,
) -> None:
    """Rows of TABLE (nodes, jobs, actors, workers, placement-groups) as this host's index knows them.

    Filters and query words are those of the table's page: `raydeck list actors state=ALIVE --sort=-start_time_ms`.
    """
    arguments = {**_filters(filters), "q": [words], "sort": [sort], "limit": [limit], "after": [after], "columns": [columns]}
    try:
        text, note = _answer(table, arguments, cluster, session, output or "txt", state_dir, time.time())
    except BadQuery as error:
        raise click.UsageError(str(error)) from error
    except NotFound as error:
        raise click.ClickException(str(error)) from error
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    if output is None:
        click.echo(note, err=True)


def _answer(
    table: str, arguments: dict[str, list[str]], cluster: str | None, session: str | None, output: str, state_dir: Path | None, now: float
) -> tuple[bytes, str]:
    """The rows as text, and a line on how many and how old they are."""
    from clusterstate.store.sqlite_reading import DeadlinePassed, IndexMissing
    from webapp import exports
    from webapp.responses import json_answer
    from webapp.tables.jobs import JOBS
    from webapp.tables.metadata import with_metadata_columns

    definition = _table(table)
    settings = settings_of(state_dir)
    try:
        reader = _reader(settings, cluster, session)
        definition = with_metadata_columns(definition, arguments, reader) if definition is JOBS else definition
        query = definition.query(arguments, export=True)
        everything = output != "txt" and query.is_default_columns
        fresh = _freshness(reader, definition, now)
        page = reader.page(definition.view, query.selection(everything=everything), now)
    except IndexMissing as error:
        raise NotFound(f"There is no index in {settings.state_dir} yet. Start `raydeck up` or `raydeck projector` there.") from error
    except DeadlinePassed as error:
        raise NotFound(f"The question took longer than {DEADLINE_MS // 1000} seconds. Narrow it.") from error
    shown = definition.exported if everything else query.columns
    keys = list(dict.fromkeys((definition.key, *(column.key for column in shown))))
    following = page.after.as_text() if page.after else None
    if output == "json":
        return exports.as_json(json_answer(keys, page, following, fresh)) + b"\n", ""
    if output == "csv":
        return exports.as_csv(keys, page.rows), ""
    text = exports.as_text([column.key for column in shown], page.rows) if page.rows else f"{definition.empty}\n".encode()
    return text, _note(page, fresh, following)


def _filters(words: tuple[str, ...]) -> dict[str, list[str]]:
    """column=value, each may be given several times: then any of the values will do."""
    found: dict[str, list[str]] = {}
    for word in words:
        column, equals, value = word.partition("=")
        if not equals or not column:
            raise click.UsageError(f"{word[:64]!r} is not a filter. Write column=value.")
        if column in OWN_ARGUMENTS:
            raise click.UsageError(f"{column} is an option: write --{'query' if column == 'q' else column}.")
        found.setdefault(column, []).append(value)
    return found


def _table(name: str) -> Table:
    from webapp.tables.catalogue import TABLES

    found = TABLES.get(name) or TABLES.get(name.replace("_", "-")) or TABLES.get(name.replace("-", "_"))
    if found is None:
        raise BadQuery(f"There is no table {name[:64]!r}. Tables are: {', '.join(TABLES)}.")
    return found


def _reader(settings: Settings, cluster: str | None, session: str | None) -> SessionReader:
    """Of the cluster that was named, or of the only one."""
    from clusterstate.store.fleet_reader import Fleet

    fleet = Fleet(paths.index_dir(settings.state_dir), stale_after_s=settings.stale_after_s, deadline_ms=DEADLINE_MS)
    names = fleet.names()
    wanted = cluster or settings.cluster_name or (names[0] if len(names) == 1 else None)
    if wanted is None and names:
        raise BadQuery(f"There are {len(names)} clusters. Name one with --cluster: {', '.join(names[:20])}.")
    if wanted is None:
        raise NotFound(f"No cluster is known in {settings.state_dir} yet. Start `raydeck up` or `raydeck projector` there.")
    return fleet.reader(wanted, session)


def _freshness(reader: SessionReader, table: Table, now: float) -> Freshness:
    """As the pages say it: what node collectors bring makes an answer partial, not stale."""
    from webapp.scope import BY_NODES

    names = table.view.resources
    return reader.freshness(*[name for name in names if name not in BY_NODES], now=now, nodes_matter=not BY_NODES.isdisjoint(names))


def _note(page: Page, fresh: Freshness, following: str | None) -> str:
    matching = page.matching if page.matching_is_exact else f"at least {page.matching}"
    age = "age unknown" if fresh.age_s is None else f"{fresh.age_s:.1f} s old"
    more = f"; more with --after {following}" if following else ""
    return f"{len(page.rows)} rows of {matching} that match, {page.total} in all; {fresh.word}, {age}{more}"


commands: list[click.Command] = [list_table]
