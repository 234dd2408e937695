"""Log files as files: one, or a part of it, byte by byte; many as an archive."""

from __future__ import annotations

import re

from flask import Response, request

from clusterstate.log_answers import Listing, Unreadable, read_answer
from clusterstate.node_questions import Unanswered
from clusterstate.probes import ListLogs
from clusterstate.query import BadQuery
from webapp.logs.hosts import host_asked
from webapp.logs.reading import AT_ONCE_BYTES, LogSource, Member, archive
from webapp.pages.logs import AskedFiles, asked_files, asked_scope, known_node
from webapp.parts import parts
from webapp.scope import Scope

RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})")
NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]")
MOST_FILES = 500
MOST_ARCHIVE_BYTES = 8 << 30
ANSWERED_WITHIN_S = 6.0


def download_log(scope: Scope, node_id: str, file_id: str) -> Response:
    """A file byte by byte, or the part that a Range header names."""
    source = source_of_node(scope, node_id)
    asked = RANGE.fullmatch(request.headers.get("Range", "").strip())
    start = int(asked["first"]) if asked and asked["first"] else 0
    if asked and not asked["first"] and asked["last"]:
        start = max(0, source.read(file_id[:64], 0, 0).size - int(asked["last"]))
    first = source.read(file_id[:64], start, AT_ONCE_BYTES)
    end = first.size
    if asked and asked["first"] and asked["last"]:
        end = min(end, int(asked["last"]) + 1)
    is_part = asked is not None and bool(asked["first"] or asked["last"])
    if is_part and start >= min(end, first.size):
        return Response(status=416, headers={"Content-Range": f"bytes */{first.size}"}, content_type="text/plain; charset=utf-8")
    response = Response(source.pieces(file_id[:64], first, start, end), 206 if is_part else 200, content_type="application/octet-stream")
    response.headers["Content-Length"] = str(end - start)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(first.name)}"'
    if is_part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{first.size}"
    return response


def download_archive(scope: Scope) -> Response:
    """Files of a node as a gzipped tar: those named by ?file=, else all that the list's own arguments choose."""
    chosen = request.args.getlist("file")
    if len(chosen) > MOST_FILES:
        raise BadQuery(f"{len(chosen)} files are named; an archive may hold {MOST_FILES}.")
    asked = asked_files(also=frozenset({"file"}))
    if asked.node is None:
        raise BadQuery("node is missing: the id of the node whose files are wanted.")
    source = source_of_node(scope, asked.node)
    members = [Member(file_id[:64], "") for file_id in chosen] if chosen else _all(scope, source, asked)
    response = Response(archive(source, members, parts().now()), content_type="application/gzip")
    response.headers["Content-Disposition"] = f'attachment; filename="logs-{_file_name(scope.cluster)}-{asked.node[:8]}.tar.gz"'
    return response


def _all(scope: Scope, source: LogSource, asked: AskedFiles) -> list[Member]:
    node = known_node(scope, source.node_id)
    probe = ListLogs(source.node_id, asked.group, asked.name, *asked_scope(scope, asked, node).ids, sort="name", limit=MOST_FILES)
    try:
        listing = read_answer(source.questions.ask(probe, source.cluster, source.host, ANSWERED_WITHIN_S), Listing)
    except Unreadable as why:
        raise Unanswered(str(why)) from None
    if listing.matching > MOST_FILES:
        raise BadQuery(f"{listing.matching:,} files match; an archive may hold {MOST_FILES}. Narrow the list by name or group.")
    size = sum(file.size - file.first for file in listing.files)
    if size > MOST_ARCHIVE_BYTES:
        raise BadQuery(f"The files that match have {size:,} bytes; an archive may hold {MOST_ARCHIVE_BYTES:,}. Narrow the list.")
    return [Member(file.file_id, file.name) for file in listing.files]


def source_of_node(scope: Scope, node_id: str) -> LogSource:
    """Where the files of a node are asked for. Raises NotFound, Unanswered."""
    node = known_node(scope, node_id)
    return LogSource(parts().questions, scope.cluster, host_asked(scope, node), node_id)


def _file_name(name: str) -> str:
    return NOT_IN_A_FILE_NAME.sub("_", name.rpartition("/")[2])[-120:] or "log"
