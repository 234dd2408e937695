"""Answers: a page or its fragment, 304 when nothing changed; a table as HTML, JSON, CSV or text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flask import Response, g, render_template, request

from clusterstate.query import BadQuery, Condition, Page
from clusterstate.store.reader import Freshness
from webapp import background, exports
from webapp.auth import caller_if_any
from webapp.fragment_cache import tag_of
from webapp.htmx import headers_of
from webapp.parts import parts
from webapp.preferences import preferences
from webapp.rendering import compressed, html, html_from_gzip, json_response, redirect_to, streamed
from webapp.scope import Scope, ScopeState, href
from webapp.security import vary
from webapp.tables.accelerators import with_gpu_columns
from webapp.tables.drawing import draw
from webapp.tables.framework import Table, TableQuery

__all__ = ["html", "json_response", "page_response", "redirect_to", "table_query", "table_response"]

Load = Callable[[], Mapping[str, Any]]
TABLE_FRAGMENT = "shared/_table.html"
EXPORTED_AT_ONCE = 8_000_000
"""Characters of rows that an export holds at once: 10,000 rows as they mostly are. More is read while it is sent."""
NO_TAG = "none"
"""Sent with an error's fragment: the next poll must not be told that nothing changed."""


def page_response(
    template: str,
    fragment: str | Mapping[str, str] | None = None,
    tag: tuple[object, ...] | None = None,
    load: Load | None = None,
    is_long: bool = False,
    **context: Any,
) -> Response:
    """A whole page, or the fragment of it that htmx asks for.

    `fragment` is the fragment's template, or target id → template where a page has several. `tag` is what the answer
    depends on besides the URL and who asks (`ScopeState.tag_parts`): with it an unchanged fragment is answered 304
    before `load` is called, and a rendered one is kept for others. `load` does the queries and answers more context;
    off the event loop if it `is_long`.
    """
    name = _fragment_asked_for(fragment)
    whole = None if tag is None else page_tag(name, tag)
    if name is None:
        return html(render_template(template, page_tag=_embedded_tag(fragment, tag), **context, **_loaded(load, is_long)))
    if whole is not None and headers_of(request).ptag == whole:
        return _fragment_headers(Response(status=304), whole)
    if whole is None:
        return _fragment_headers(html(render_template(name, **context, **_loaded(load, is_long))), NO_TAG)
    return fragment_response(name, whole, lambda: {**context, **_loaded(load, is_long)})


def fragment_response(template: str, tag: str, load: Load) -> Response:
    """A fragment from the cache, or rendered and put there unless it turned out to be for one person."""

    def render() -> tuple[bytes, bool]:
        g.is_personal = False
        body = render_template(template, page_tag=tag, **load()).encode("utf-8", "replace")
        return body, not g.is_personal

    body = parts().fragments.get_or_render(tag, render)
    return _fragment_headers(html_from_gzip(body), tag)


def page_tag(fragment: str | None, what: tuple[object, ...]) -> str:
    """Differs whenever a fragment would look different: by URL, by who asks and by what is known.

    The URL's words go in only hashed, so nothing that somebody typed is a key of the cache.
    """
    who = caller_if_any()
    chosen = preferences()
    args = sorted((key, value) for key, value in request.args.items(multi=True))
    asked = (request.endpoint, request.view_args, request.script_root, args)
    seen_as = (who.role if who else 0, chosen.time_zone, g.get("redis_is_away", False))
    return tag_of(parts().build, fragment, asked, seen_as, what)


def table_query(table: Table, keep: Sequence[str] = ()) -> TableQuery:
    """What this request asks of the table. `keep` names arguments of the page that are not the table's. Raises BadQuery."""
    return table.query(request.args, keep=(*keep, "theme"), export=g.get("format") is not None)


def table_response(
    template: str,
    table: Table,
    query: TableQuery,
    scope: Scope,
    *,
    always: Sequence[Condition] = (),
    fragment: str = TABLE_FRAGMENT,
    further: Sequence[str] = (),
    beside: Callable[[list[dict[str, Any]]], Mapping[str, Any]] | None = None,
    also: tuple[object, ...] = (),
    **context: Any,
) -> Response:
    """Rows of a table; `always` narrows it to those of one job or node, say, and the totals with it.

    `beside` answers more context for the rows of this page, out of the resources named in `further`. `also` is what else the
    answer depends on.
    """
    now = parts().now()
    state = scope.state(*table.view.resources, *further, now=now)
    wanted = g.get("format")
    if wanted is not None:
        return _export(wanted, query, scope, state, always, now)

    def load() -> Mapping[str, Any]:
        asked = with_gpu_columns(query, scope.reader)
        page = scope.reader.page(table.view, asked.selection(always), now)
        more = beside(page.rows) if beside is not None else {}
        return {"view": draw(asked, page, scope.reader, path, always), "freshness": state.freshness, **more}

    path = href(table.endpoint, theme=None)
    tag = (*state.tag_parts(now), scope.reader.given_up(table.view.base), *also)
    return page_response(template, fragment, tag, load, query.is_long, table=table, **context)


def _export(wanted: str, query: TableQuery, scope: Scope, state: ScopeState, always: Sequence[Condition], now: float) -> Response:
    view, selection = query.table.view, query.selection(always, everything=True)
    parts = scope.reader.parts(view, selection, now, EXPORTED_AT_ONCE)
    page = background.run(lambda: next(parts))
    end = background.run(lambda: scope.reader.page(view, replace(selection, columns=(query.table.key,)), now)) if page.is_cut else page
    following = _url(query.href(limit=query.limit, after=end.after.as_text())) if end.after else None
    keys, rows = _keys(query), _rows_of(page, parts)
    if wanted == "json":
        pieces = exports.json_pieces(about_rows(page, following, state.freshness), keys, rows)
    else:
        pieces = (exports.csv_pieces if wanted == "csv" else exports.text_pieces)(keys, rows)
    kind = exports.FORMATS[wanted]
    response = streamed(pieces, kind) if page.is_cut else compressed(Response(b"".join(pieces), content_type=kind))
    response.headers["X-Total-Count"] = str(page.matching)
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    if wanted == "csv":
        response.headers["Content-Disposition"] = f'attachment; filename="{scope.cluster}-{query.table.name}.csv"'
    return response


def _rows_of(page: Page | None, parts: Iterator[Page]) -> Iterator[dict[str, Any]]:
    """Rows of the first part and of those after it, each read off the event loop when it is its turn."""
    while page is not None:
        yield from page.rows
        page = background.run(lambda: next(parts, None)) if page.is_cut else None


def json_answer(keys: Sequence[str], page: Page, following: str | None, fresh: Freshness) -> dict[str, Any]:
    """The contract of every `<table>.json`."""
    return {"rows": [{key: row.get(key) for key in keys} for row in page.rows], **about_rows(page, following, fresh)}


def about_rows(page: Page, following: str | None, fresh: Freshness) -> dict[str, Any]:
    """What `<table>.json` says besides its rows."""
    return {
        "total": page.total,
        "matching": page.matching,
        "given_up": page.given_up,
        "next": following,
        **freshness_answer(fresh),
        "exact": fresh.exact and page.matching_is_exact,
    }


def freshness_answer(fresh: Freshness) -> dict[str, Any]:
    """How old an answer is and what is missing, as every JSON answer says it."""
    return {
        "as_of": fresh.as_of,
        "age_s": fresh.age_s,
        "stale": fresh.stale,
        "partial": [{"node": item.node_id, "reason": item.reason, "since": item.since} for item in fresh.partial],
        "source": fresh.source,
        "exact": fresh.exact,
    }


def _keys(query: TableQuery) -> list[str]:
    columns = query.table.exported if query.is_default_columns else query.columns
    return list(dict.fromkeys((query.table.key, *(column.key for column in columns))))


def _url(arguments: str) -> str:
    return f"{request.script_root}{request.path}{arguments}"


def _fragment_asked_for(fragment: str | Mapping[str, str] | None) -> str | None:
    htmx = headers_of(request)
    if fragment is None or not htmx.is_partial:
        return None
    if isinstance(fragment, str):
        return fragment
    found = fragment.get(htmx.target_id or "")
    if found is None:
        raise BadQuery(f"HX-Target must be one of {', '.join(sorted(fragment))}.")
    return found


def _embedded_tag(fragment: str | Mapping[str, str] | None, tag: tuple[object, ...] | None) -> str | None:
    """The tag that the fragment within a page has, for its `hx-ptag`: the first poll is then a 304 too."""
    return page_tag(fragment, tag) if isinstance(fragment, str) and tag is not None else None


def _loaded(load: Load | None, is_long: bool) -> Mapping[str, Any]:
    if load is None:
        return {}
    return background.run(load) if is_long else load()


def _fragment_headers(response: Response, tag: str) -> Response:
    response.headers["HX-PTag"] = tag
    vary(response, "HX-Request")
    return response
