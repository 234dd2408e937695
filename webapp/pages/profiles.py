"""Profiles: asking for one, all that are kept, and each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, g, render_template, request
from werkzeug.exceptions import Forbidden

from clusterstate.profile_answers import ENDED, FAILED, NOT_LISTED, NOT_PYTHON, WhyNot
from clusterstate.profiles import CENSUS, STACKS, TRACED, Busy, Profile
from clusterstate.query import BadQuery, NotFound
from clusterstate.stacks import Unreadable
from webapp import background, exports
from webapp.auth import caller, caller_if_any
from webapp.errors import TooBusy, wants_json
from webapp.flame.asking import parse
from webapp.flame.formats import FORMATS
from webapp.htmx import headers_of
from webapp.parts import parts
from webapp.profiling import listing
from webapp.profiling.abilities import Obstacle, checked, obstacles
from webapp.profiling.asking import kind_called, kinds_for, plan, read_options
from webapp.profiling.exits import Exit, exits_of
from webapp.profiling.kinds import BY_NAME, Kind
from webapp.profiling.results import TRACE_EXTENSION, TRACE_TYPE, Result, as_file, as_stack_json, as_text, difference, result_of, trace_of
from webapp.profiling.standing import Missing, ProfileStanding, options_in_words, standing_of
from webapp.profiling.targets import Chosen, chosen
from webapp.rendering import streamed
from webapp.responses import html, json_response, page_response, redirect_to
from webapp.roles import ADMIN, OPERATOR
from webapp.scope import Scope, href

MOST_UNDER_WAY = 20
HOPELESS = frozenset({ENDED, NOT_LISTED, NOT_PYTHON})
WAITS_S = 0.45
"""A stack is mostly there by then: the page that follows shows it at once."""


@dataclass(frozen=True)
class NewPage:
    """All that profiles/new.html may use."""

    found: Chosen
    kinds: tuple[Kind, ...]
    kind: Kind
    typed: Mapping[str, str]
    obstacles: tuple[Obstacle, ...]  # what is in the way of the chosen kind
    unknown: tuple[str, ...]  # why it is not known whether it will work, by host
    problem: str | None
    under_way: tuple[ProfileStanding, ...]  # of other profiles, where these are in the way

    @property
    def is_certain(self) -> bool:
        """Whether what is in the way is the one process itself: trying is of no use."""
        return len(self.found.targets) == 1 and any(one.why_not.reason in HOPELESS for one in self.obstacles)


@dataclass(frozen=True)
class ProfilePage:
    """All that profiles/detail.html may use."""

    profile: Profile
    standing: ProfileStanding
    result: Result | None  # None: there is nothing to show (yet)
    unreadable: str | None
    exits: tuple[Exit, ...]  # of processes that have ended meanwhile
    may_ask: bool  # whether who looks may ask for another
    may_end: bool  # and stop and remove this one

    @property
    def again(self) -> dict[str, Any]:
        """What asks for the same once more: arguments of a URL."""
        asked = {name: 1 if value is True else value for name, value in self.profile.options.items() if value is not False}
        return {**self.profile.of, **asked}


def list_profiles(scope: Scope) -> Response:
    """Those that are kept: ?q= (a part of what it is of, of who asked or of the id), ?kind=, ?sort=, ?limit=. The newest first."""
    asked = listing.parse(request.args)
    found = listing.find(scope, asked)
    wanted = g.get("format")
    if wanted is not None:
        return _list_for_programs(scope, wanted, found)
    tag = (found.matching, found.kept, *((one.profile.profile_id, one.state, one.samples) for one in found.shown))

    def load() -> Mapping[str, Any]:
        settings = parts().settings
        kept = {"most_kept": settings.max_profiles, "days_kept": settings.profile_retention_days}
        return {"found": found, "asked": asked, "options_in_words": options_in_words, **kept}

    return page_response("profiles/list.html", "profiles/_list.html", tag, load, kinds=BY_NAME, may_ask=_may(OPERATOR))


def _list_for_programs(scope: Scope, wanted: str, found: listing.Found) -> Response:
    rows = [listing.row_of(one) for one in found.shown]
    if wanted == "json":
        return json_response({"rows": rows, "total": found.kept, "matching": found.matching, "as_of": parts().now()})
    pieces = (exports.csv_pieces if wanted == "csv" else exports.text_pieces)(listing.COLUMNS, rows)
    response = Response(b"".join(pieces), content_type=exports.FORMATS[wanted])
    if wanted == "csv":
        response.headers["Content-Disposition"] = f'attachment; filename="{scope.cluster}-profiles.csv"'
    return response


def show_new(scope: Scope) -> Response:
    """The form for what the URL names, with what is in the way, if anything is."""
    return _form(scope, request.args)


def start_profile(scope: Scope) -> Response:
    """Records who asks in the audit trail, asks the nodes, and goes to the profile's page."""
    _refuse_unless_live(scope)
    kind = kind_called(request.form.get("kind", ""))
    found = chosen(scope, request.form)
    now = parts().now()
    try:
        options = read_options(kind, request.form)
        profile, questions = plan(scope, found, kind, options, caller().name, now)
    except BadQuery as why:
        if wants_json():
            raise
        return _form(scope, request.form, str(why), 400)
    _note("profile.start", {**_told(profile), "options": dict(options), "pids": [one.pid for one in profile.targets[:64]]})
    try:
        profile = parts().profiles.start(profile, questions, now)
    except Busy as why:
        if wants_json():
            raise TooBusy(str(why)) from None
        return _form(scope, request.form, str(why), 429)
    if kind.name == STACKS:
        parts().profiles.wait(profile, WAITS_S)
    if wants_json():
        return json_response(_row(standing_of(parts().profiles, profile)), 202)
    return redirect_to(href("profile", profile_id=profile.profile_id))


def show_profile(scope: Scope, profile_id: str) -> Response:
    """One profile: how far it is, then what it found."""
    profile = _find(scope, profile_id)
    standing = standing_of(parts().profiles, profile)
    if request.path.endswith(".json"):
        return json_response(_row(standing))
    if profile.session != scope.reader.session and _is_known(scope.cluster, profile.session):
        return redirect_to(href("profile", session=profile.session, profile_id=profile_id))  # what it names is found there
    may_ask = _may(OPERATOR) and not scope.is_past
    may_end = _may(ADMIN) or (_may(OPERATOR) and caller().name == profile.who)

    exits = exits_of(scope.reader, standing)

    def load() -> Mapping[str, Any]:
        result, unreadable = None, None
        try:
            result = result_of(standing, request.args)
        except Unreadable as why:
            unreadable = str(why)
        shown = result and result.viewer
        return {"found": ProfilePage(profile, standing, result, unreadable, exits, may_ask, may_end), "viewer": shown, "page": shown}

    grows = profile.kind == CENSUS and not standing.is_over
    tag = None if grows else (*standing.tag, may_end, len(exits))
    fragment = "profiles/_result.html" if headers_of(request).target_id == "flame" else "profiles/_detail.html"
    return page_response("profiles/detail.html", fragment, tag, load, kinds=BY_NAME)


def compare_profiles(scope: Scope) -> Response:
    """The second of two profiles as against the first: ?before=&after=; or ?id=&id=, the earlier first."""
    ids = request.args.getlist("id") or [request.args.get("before", ""), request.args.get("after", "")]
    if len(ids) != 2 or not all(ids):
        raise BadQuery(f"{len([one for one in ids if one])} profiles are named; two are compared. Tick two on the list of profiles.")
    both = [standing_of(parts().profiles, _find(scope, one)) for one in ids]
    if request.args.getlist("id"):
        both.sort(key=lambda one: one.profile.asked_at)
        before, after = (one.profile.profile_id for one in both)
        return redirect_to(href("compare_profiles", before=before, after=after))
    asked = parse(request.args, ("before", "after"))
    before, after = ids
    swapped = href("compare_profiles", before=after, after=before, **asked.arguments(at=""))

    def load() -> Mapping[str, Any]:
        try:
            return {"page": difference(both[0], both[1], asked)}
        except Unreadable as why:
            raise NotFound(f"What was told of one of them cannot be read: {why}") from None

    return page_response("profiles/compare.html", "profiles/_difference.html", None, load, both=both, kinds=BY_NAME, swapped=swapped)


def download_profile(scope: Scope, profile_id: str, format: str) -> Response:  # noqa: A002 - as the URL calls it
    """What a profile found, as a file."""
    try:
        return _download(profile_id, standing_of(parts().profiles, _find(scope, profile_id)), format)
    except Unreadable as why:
        raise NotFound(f"What was told of it cannot be read: {why}") from None


def _download(profile_id: str, standing: ProfileStanding, format: str) -> Response:  # noqa: A002 - as the URL calls it
    if standing.profile.kind in {STACKS, CENSUS}:
        if format == "json":
            return _file(as_stack_json(standing), profile_id, standing, "json", "application/json")
        if format != "txt":
            raise NotFound("Stacks are a file as txt or json.")
        return _file(as_text(standing), profile_id, standing, "txt", "text/plain; charset=utf-8")
    if standing.profile.kind in TRACED:
        if format != "trace" or not standing.has_trace:
            raise NotFound("A trace is a file as trace, once it is there.")
        return _file(iter((trace_of(standing),)), profile_id, standing, TRACE_EXTENSION, TRACE_TYPE)
    wanted = FORMATS.get(format)
    if wanted is None:
        raise NotFound(f"A profile is a file as {', '.join(FORMATS)}.")
    if not standing.has_samples:
        raise NotFound("This profile has no samples (yet).")
    return _file(as_file(standing, wanted, parse(request.args)), profile_id, standing, wanted.extension, wanted.content_type)


def _file(pieces: Iterator[bytes], profile_id: str, standing: ProfileStanding, extension: str, content_type: str) -> Response:
    response = streamed(exports.sliced(background.each(pieces)), content_type)
    name = f"{standing.profile.kind}-{profile_id[:12]}.{extension}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return response


def stop_profile(scope: Scope, profile_id: str) -> Response:
    """Ends it; what was sampled until now is kept, unless it is cancelled. By who asked for it, or an admin."""
    profile = _find(scope, profile_id)
    _refuse_others(profile)
    if request.form.get("cancel") == "1":
        parts().profiles.cancel(profile)
        _note("profile.cancel", _told(profile))
    elif profile.kind in TRACED:
        raise BadQuery("A trace is there at its end or not at all: it can be cancelled, with cancel=1.")
    else:
        parts().profiles.stop(profile)
        _note("profile.stop", _told(profile))
    return redirect_to(href("profile", profile_id=profile_id))


def delete_profile(scope: Scope, profile_id: str) -> Response:
    """Removes it: by who asked for it, or an admin."""
    profile = _find(scope, profile_id)
    _refuse_others(profile)
    parts().profiles.delete(profile)
    _note("profile.delete", _told(profile))
    return redirect_to(href("profiles"))


def _form(scope: Scope, given: Mapping[str, str], problem: str | None = None, status: int = 200) -> Response:
    """With what was typed. The status 429 shows what is in the way."""
    found = chosen(scope, given)
    may_be = kinds_for(found)
    kind = kind_called(given.get("kind") or may_be[0].name)
    kind = kind if kind in may_be else may_be[0]
    hosts = checked(scope, found)
    under_way = _under_way(scope) if status == 429 else ()
    unknown = tuple(dict.fromkeys(one.unknown for one in hosts if one.unknown is not None))
    page = NewPage(found, may_be, kind, given, obstacles(hosts, kind), unknown, problem, under_way)
    return html(render_template("profiles/new.html", page=page, kinds=BY_NAME), status)


def _under_way(scope: Scope) -> tuple[ProfileStanding, ...]:
    newest = (one for one in parts().profiles.newest(scope.cluster, MOST_UNDER_WAY) if one.outcome is None)
    return tuple(standing for standing in (standing_of(parts().profiles, one) for one in newest) if not standing.is_over)


def _refuse_unless_live(scope: Scope) -> None:
    if scope.is_past:
        raise BadQuery("This session has ended: none of its processes run.")


def _find(scope: Scope, profile_id: str) -> Profile:
    profile = parts().profiles.get(scope.cluster, profile_id[:64])
    if profile is None:
        kept = parts().settings.profile_retention_days
        raise NotFound(f"There is no profile {profile_id[:64]!r}, or no more: they are kept for {kept} days, the newest ones.")
    return profile


def _is_known(cluster: str, session: str) -> bool:
    try:
        parts().fleet.reader(cluster, session)
    except NotFound:
        return False
    return True


def _may(role: Any) -> bool:
    who = caller_if_any()
    return who is not None and who.may(role)


def _note(action: str, detail: Mapping[str, object]) -> None:
    by = {"by": "token" if caller().by_token else "sign-in", "peer": request.remote_addr or "unix"}
    parts().auth.journal.audit(caller().name, action, {**detail, **by}, parts().now())


def _refuse_others(profile: Profile) -> None:
    if not (_may(ADMIN) or caller().name == profile.who):
        raise Forbidden(f"This profile is {profile.who}'s: they or an admin may end or remove it.")


def _told(profile: Profile) -> dict[str, object]:
    return {
        "profile_id": profile.profile_id,
        "cluster": profile.cluster,
        "kind": profile.kind,
        "of": dict(profile.of),
        "processes": len(profile.targets),
    }


def _row(standing: ProfileStanding) -> dict[str, Any]:
    return {**listing.row_of(standing), "missing": [_missing(one) for one in standing.missing]}


def _missing(one: Missing) -> dict[str, Any]:
    why_not = one.why_not or WhyNot(FAILED, one.problem or "")
    return {"pids": [target.pid for target in one.targets], "reason": why_not.reason, "detail": why_not.detail, "fix": why_not.fix or None}
