"""Following a log file: events for as long as somebody looks on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from flask import Response, render_template, request, stream_with_context

from clusterstate import model
from clusterstate.query import BadQuery
from clusterstate.resources import NODES
from webapp.auth import caller_if_any
from webapp.formatting import moment
from webapp.logs.following import Event, Following, Place
from webapp.logs.lines import LogWindow
from webapp.pages.log_files import source_of_node
from webapp.pages.log_view import FileLinks, LogFile
from webapp.pages.logs import number_asked
from webapp.parts import parts
from webapp.preferences import BROWSER, preferences
from webapp.scope import Scope

INODE = re.compile(r"[0-9a-zA-Z_-]{0,64}\Z")
ARGUMENTS = frozenset({"at", "inode", "number", "raw", "theme"})


def follow_log(scope: Scope, node_id: str, file_id: str) -> Response:
    """Server-sent events: lines from byte ?at= of the file ?inode= on, the first of them number ?number=."""
    for name in request.args:
        if name not in ARGUMENTS:
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join(sorted(ARGUMENTS - {'theme'}))}.")
    source = source_of_node(scope, node_id)
    node: model.Node | None = scope.reader.get(NODES, node_id)
    assert node is not None  # noqa: S101 - for the type checker: its files can be asked for
    following = Following(
        follows=parts().follows,
        source=source,
        file_id=file_id[:64],
        place=_place(),
        raw=request.args.get("raw") == "1",
        why_lost=lambda: why_lost(scope, node_id),
    )
    caller = caller_if_any()
    followers, who = parts().followers, caller.name if caller else ""
    followers.come(who)
    shown = LogFile(node, file_id, None, None, raw=following.raw, times=False, wrap=True, time="")

    def stream() -> Iterator[str]:
        yield "retry: 2000\n\n"
        for event in following.events():
            yield _sent(event, FileLinks(shown))

    response = Response(stream_with_context(stream()), content_type="text/event-stream; charset=utf-8")
    response.call_on_close(lambda: followers.leave(who))  # also where nothing of it was read
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx sends each event at once
    return response


def why_lost(scope: Scope, node_id: str) -> str | None:
    """Why nothing can come from a node any more; None while it lives."""
    node: model.Node | None = scope.reader.get(NODES, node_id)
    if node is None:
        return "The node is not remembered any more."
    if node.state == "ALIVE":
        return None
    zone = preferences().time_zone
    at = moment(node.end_time_ms, "UTC" if zone == BROWSER else zone) if node.end_time_ms else None
    said = f"The node was lost{f' at {at}' if at else ''}"
    return f"{said}: {node.state_message}" if node.state_message else f"{said}."


def _place() -> Place:
    """Where to begin: where the connection broke off, if the browser says so, else what the page says."""
    inode, _, rest = request.headers.get("Last-Event-ID", "").partition(":")
    at, _, number = rest.partition(":")
    if inode and INODE.match(inode) and at.isascii() and at.isdigit() and len(at) < 20:
        return Place(inode, int(at), int(number) if number.isascii() and number.isdigit() and len(number) < 20 else None)
    first = number_asked("number", 0)
    inode = request.args.get("inode", "")
    if not INODE.match(inode):
        raise BadQuery(f"inode is {inode[:64]!r}; it must be as the page of the file says it.")
    return Place(inode, number_asked("at", 0), first or None)


def _sent(event: Event, links: FileLinks) -> str:
    if event.is_alive:
        return ": still here\n\n"
    window = LogWindow("", 0, 0, 0, 0, list(event.lines))
    body = {
        "html": render_template("logs/_followed.html", window=window, links=links) if event.lines else "",
        "lines": len(event.lines),
        "mark": event.mark,
        "is_new_file": event.is_new_file,
        "is_end": event.is_end,
    }
    place = event.place
    at = f"id: {place.inode}:{place.at}:{place.number if place.number is not None else ''}\n" if place and INODE.match(place.inode) else ""
    return f"{at}data: {json.dumps(body)}\n\n"
