"""Ray status: what the autoscaler says of nodes, what is used, what is asked for in vain, and how that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flask import Response, request

from clusterstate.query import BadQuery
from clusterstate.resources import NODE_RESOURCES, NODES, STATUS, STATUS_HISTORY
from clusterstate.status import ResourceUse
from webapp import ray_status
from webapp.parts import parts
from webapp.rendering import compressed, json_response
from webapp.responses import freshness_answer
from webapp.scope import Scope
from webapp.showing import show
from webapp.status_changes import change_lines

SEEN = (STATUS.name, STATUS_HISTORY.name, NODES.name, NODE_RESOURCES.name)


@dataclass(frozen=True)
class StatusPage:
    """All that status/index.html may use."""

    cards: ray_status.StatusCards | None  # None: nothing is known yet
    reported_at: float | None  # Unix seconds: when an autoscaler reported last; None: none has
    uses: list[ResourceUse]
    is_reserved: bool  # some resource is reserved by placement groups
    changes: list[tuple[int, list[str]]]  # Unix ms, lines of what changed; the newest first
    text: str | None
    verbose: bool
    note: str


def show_status(scope: Scope) -> Response:
    """As tables, as charts of the last minutes, as a list of changes and as Ray's text; ?verbose=1 has that of `ray status -v`."""
    now, verbose = parts().now(), _is_verbose()
    _, steps = ray_status.chart_steps(scope.reader, now, parts().settings.history_minutes)
    fragment = "status/_status.html"
    return show("status/index.html", fragment, scope, SEEN, lambda: _load(scope, now, verbose), (steps.stop,))


def download_status_text(scope: Scope) -> Response:
    """The text of `ray status`, or with ?verbose=1 of `ray status -v`."""
    verbose, status = _is_verbose(), scope.reader.status()
    at = None if status is None else ray_status.text_as_of(scope.reader, status)
    text = ray_status.NO_STATUS + "\n" if status is None else ray_status.text(scope.reader, status, at, verbose=verbose)
    return compressed(Response(text.encode("utf-8", "replace"), content_type="text/plain; charset=utf-8"))


def download_status(scope: Scope) -> Response:
    """The same as JSON, with its history."""
    _check_arguments(())
    now, reader = parts().now(), scope.reader
    status = reader.status()
    known = asdict(status) if status is not None else {}
    return json_response(
        {
            "autoscaler": {
                "version": known.get("autoscaler_version"),
                "reported_at": reader.confirmed(ray_status.REPORTED),
                "silent_since_ms": known.get("silent_since_ms"),
                "error": known.get("autoscaler_error"),
            },
            **{name: known.get(name) for name in ("nodes", "pending_nodes", "failed_nodes", "demands")},
            "resources": ray_status.uses_now(status) if status is not None else None,
            "note": ray_status.NOTE,
            "history": ray_status.charts(reader, now, parts().settings.history_minutes),
            "changes": [{"at": one.at, "lines": change_lines(one)} for one in ray_status.changes(reader)],
            **freshness_answer(scope.state(*SEEN, now=now).freshness),
        }
    )


def _load(scope: Scope, now: float, verbose: bool) -> StatusPage:
    reader = scope.reader
    cards = ray_status.cards(reader, now, parts().settings.history_minutes, with_reasons=not scope.is_past)
    status = cards.status if cards is not None else None
    amounts = ray_status.uses_now(status) if status is not None else []
    at = None if status is None else status.collected_at  # what is drawn stays true until the next change
    return StatusPage(
        cards=cards,
        reported_at=reader.confirmed(ray_status.REPORTED),
        uses=amounts,
        is_reserved=any(one.reserved is not None for one in amounts),
        changes=[(int(one.at * 1000), change_lines(one)) for one in ray_status.changes(reader)],
        text=ray_status.text(reader, status, at, verbose=verbose) if status is not None else None,
        verbose=verbose,
        note=ray_status.NOTE,
    )


def _is_verbose() -> bool:
    """Raises BadQuery."""
    _check_arguments(("verbose",))
    given = request.args.get("verbose", "0")
    if given not in {"0", "1"}:
        raise BadQuery(f"verbose is {given[:32]!r}; it must be 0 or 1.")
    return given == "1"


def _check_arguments(allowed: Sequence[str]) -> None:
    unknown = request.args.keys() - {*allowed, "theme"}
    if unknown:
        raise BadQuery(f"There is no {min(unknown)[:32]!r} here. Allowed are: {', '.join((*allowed, 'theme'))}.")
