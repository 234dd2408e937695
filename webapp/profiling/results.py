"""What came of a profile, as its page shows it: of samples a viewer, of stacks the threads or the groups of equal ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterstate.profile_answers import ProcessStacks
from clusterstate.profiles import CENSUS, MERGED, STACKS, TRACED, Profile, Target
from clusterstate.query import BadQuery
from clusterstate.stacks import Samples, Unreadable
from webapp import background
from webapp.flame import stacks_shown
from webapp.flame.asking import FLAME, AskedFlame, parse
from webapp.flame.comparing import DifferencePage, difference_page
from webapp.flame.formats import FORMATS, FileFormat
from webapp.flame.links import To
from webapp.flame.narrowing import narrowed
from webapp.flame.stacks_shown import census_page, threads_page
from webapp.flame.stacks_together import Member
from webapp.flame.viewing import view
from webapp.parts import parts
from webapp.profiling.standing import ProfileStanding
from webapp.scope import href

STACK_FILES = (("Text", "txt"), ("JSON", "json"))
TRACE = (("Chrome trace", "trace"),)
TRACE_EXTENSION, TRACE_TYPE = "trace.json.gz", "application/gzip"
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Result:
    """What profiles/_detail.html includes, and what that may use as `viewer`."""

    template: str
    viewer: Any
    downloads: tuple[tuple[str, str], ...] = ()  # label and format
    as_shown: Mapping[str, Any] = field(default_factory=dict)  # arguments of a download that say how it is looked at


def result_of(standing: ProfileStanding, args: Mapping[str, str]) -> Result | None:
    """None while there is nothing to show. Raises BadQuery, Unreadable; may take a second."""
    if standing.profile.kind == STACKS:
        return _stacks(standing, args)
    if standing.profile.kind == CENSUS:
        return _census(standing, args)
    if standing.profile.kind in TRACED:
        return _trace(standing)
    asked = parse(args)
    is_ready = standing.is_over or standing.profile.kind == MERGED  # of many hosts what is there is shown while others are asked
    if not is_ready or not standing.has_samples:
        return None
    samples = samples_of(standing)
    to = _links(standing.profile)
    viewer = background.run(lambda: view(samples, asked, to))
    shown = asked.arguments(view=FLAME, at="", function="", sort="")
    return Result("profiles/_viewer.html", viewer, tuple((found.label, name) for name, found in FORMATS.items()), shown)


def _stacks(standing: ProfileStanding, args: Mapping[str, str]) -> Result | None:
    asked = stacks_shown.parse(args)
    shown = [process for host in standing.hosts for process in host.stacks if process.threads]
    if not shown:
        return None
    to = _links(standing.profile)
    pages = tuple((process.pid, process.child_of, threads_page(process, asked, to)) for process in shown)
    return Result("profiles/_stacks.html", pages, STACK_FILES)


def _census(standing: ProfileStanding, args: Mapping[str, str]) -> Result | None:
    asked = stacks_shown.parse(args)
    found = members_of(standing)
    if not standing.is_over and not any(member.passes for member in found):
        return None
    to = _links(standing.profile)
    return Result("profiles/_census.html", background.run(lambda: census_page(found, asked, to)), STACK_FILES)


def _trace(standing: ProfileStanding) -> Result | None:
    told = [host.progress for host in standing.hosts if host.has_told and host.progress is not None]
    return Result("profiles/_trace.html", told[0], TRACE) if told else None


def trace_of(standing: ProfileStanding) -> bytes:
    """The gzip Chrome trace that was told. Raises Unreadable."""
    [asked] = [host.asked for host in standing.hosts if host.has_told][:1]
    found = parts().profiles.packed(asked)
    if not found.startswith(GZIP):
        raise Unreadable("It is no gzip file.")
    return found


def members_of(standing: ProfileStanding) -> list[Member]:
    """The processes of a census with what was told of each so far. Raises Unreadable."""
    profile = standing.profile
    told: dict[int, dict[int, ProcessStacks]] = {}
    for host in standing.hosts:
        by_pid = {profile.targets[place].pid: place for place in host.asked.targets if place < len(profile.targets)}
        for part in parts().profiles.stacks(host.asked):
            for process in part.processes:
                if process.pid in by_pid:
                    told.setdefault(by_pid[process.pid], {})[process.in_pass] = process
    passes = {place: tuple(process for _, process in sorted(seen.items())) for place, seen in told.items()}
    labels = [_label(target, passes.get(place, ())) for place, target in enumerate(profile.targets)]
    count = Counter(labels)
    return [
        Member(
            label=label if count[label] == 1 else f"{label} (pid {target.pid})",
            passes=passes.get(place, ()),
            href=href("worker", worker_id=target.worker_id) if target.worker_id else None,
            kind=target.class_name or ("drivers" if target.kind == "DRIVER" else label),
        )
        for place, (target, label) in enumerate(zip(profile.targets, labels, strict=True))
    ]


def _label(target: Target, passes: tuple[ProcessStacks, ...]) -> str:
    """The name of an actor; of another worker what it called itself as it was looked at: it may run another task by then."""
    title = next((one.title for one in reversed(passes) if one.title), "")
    return title if title and target.actor_id is None and target.kind == "WORKER" else target.label


def as_text(standing: ProfileStanding) -> Iterator[bytes]:
    """Stacks, in the form of `py-spy dump`. Raises Unreadable."""
    return stacks_shown.as_text(_labelled(standing))


def as_stack_json(standing: ProfileStanding) -> Iterator[bytes]:
    """Stacks as a list of processes, each look at one an entry; frames outermost first. Raises Unreadable."""
    return stacks_shown.as_json(_labelled(standing))


def _labelled(standing: ProfileStanding) -> list[tuple[str, ProcessStacks]]:
    if standing.profile.kind == STACKS:
        return [(standing.profile.about, process) for host in standing.hosts for process in host.stacks]
    return [(member.label, process) for member in members_of(standing) for process in member.passes]


def _links(profile: Profile) -> To:
    return lambda **arguments: href("profile", profile_id=profile.profile_id, **arguments)


def difference(before: ProfileStanding, after: ProfileStanding, asked: AskedFlame) -> DifferencePage:
    """The second as against the first. Raises BadQuery where they cannot be compared, Unreadable."""
    for one in (before, after):
        if not one.has_samples:
            raise BadQuery(f"The profile of {one.profile.about[:80]} has no samples: flame graphs and memory profiles can be compared.")
    first, second = samples_of(before), samples_of(after)
    ids = {"before": before.profile.profile_id, "after": after.profile.profile_id}
    return background.run(
        lambda: difference_page(
            narrowed(first, asked), narrowed(second, asked), asked, lambda **arguments: href("compare_profiles", **ids, **arguments)
        )
    )


def samples_of(standing: ProfileStanding) -> Samples:
    """Of all hosts together. Raises Unreadable."""
    return parts().samples.of(parts().profiles, standing)


def as_file(standing: ProfileStanding, format: FileFormat, asked: AskedFlame) -> Iterator[bytes]:  # noqa: A002 - as the URL calls it
    """The samples in a format, in pieces. Raises Unreadable."""
    return format.write(narrowed(samples_of(standing), asked), asked, title_of(standing.profile))


def title_of(profile: Profile) -> str:
    """What it is called in files."""
    return f"{profile.kind} {profile.about}"
