"""Pages about one thing: a page object loaded off the event loop, drawn whole or as the fragment that polls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response

from clusterstate.query import Condition
from webapp.parts import parts
from webapp.responses import page_response, table_query
from webapp.scope import Scope, href
from webapp.tables.accelerators import with_gpu_columns
from webapp.tables.drawing import TableView, draw
from webapp.tables.framework import Table, TableQuery


def show(
    template: str,
    fragment: str,
    scope: Scope,
    resources: Sequence[str],
    load: Callable[[], Any],
    also: tuple[object, ...] = (),
    **context: Any,
) -> Response:
    """A page whose template gets one object, `page`, made by `load`; `resources` are those whose change changes it.

    `also` is what it depends on besides them.
    """
    now = parts().now()
    state = scope.state(*resources, now=now)

    def loaded() -> Mapping[str, Any]:
        return {"page": load(), "freshness": state.freshness}

    return page_response(template, fragment, (*state.tag_parts(now), *also), loaded, now_ms=int(scope.reader.moment(now) * 1000), **context)


@dataclass(frozen=True)
class NarrowedTable:
    """A table within another page: what the request asks of it, made before loading, drawn while loading."""

    query: TableQuery
    path: str
    now: float

    def view(self, scope: Scope, *always: Condition) -> TableView:
        """Its rows that belong to one job, node or actor."""
        query = with_gpu_columns(self.query, scope.reader)
        page = scope.reader.page(query.table.view, query.selection(always), self.now)
        return draw(query, page, scope.reader, self.path, always)


def narrowed(table: Table, keep: Sequence[str] = ("tab",)) -> NarrowedTable:
    """What this request asks of a table within another page. Raises BadQuery."""
    return NarrowedTable(table_query(table, keep=keep), href(table.endpoint, theme=None), parts().now())
