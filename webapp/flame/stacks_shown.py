"""Stacks as templates take them: groups with their members and frames, innermost first. Never source text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clusterstate.profile_answers import ProcessStacks, WhyNot
from clusterstate.query import BadQuery
from clusterstate.stacks import Frame
from webapp import exports
from webapp.flame.drawing import place_of
from webapp.flame.labels import label_of, look_of, owner_of
from webapp.flame.links import To
from webapp.flame.stacks_together import BUSY, MOVING, STUCK, Census, Group, Member, Standing, census, threads_of, where
from webapp.formatting import number, shortened

MOST_FRAMES = 150
MOST_MEMBERS = 64
MOST_GROUPS = 200
OPEN = 6
"""Groups that are open at first."""


@dataclass(frozen=True)
class AskedStacks:
    """How stacks are put together."""

    lines: bool = False  # equal are those on the same lines
    everything: bool = False  # of a census: all threads, not the main ones alone

    def arguments(self, **other: Any) -> dict[str, Any]:
        """For a URL, without what is so anyhow."""
        return {name: 1 if value else None for name, value in {**asdict(self), **other}.items()}


def parse(args: Mapping[str, str]) -> AskedStacks:
    """Reads a query string; other arguments are the page's. Raises BadQuery."""
    given = {}
    for name in AskedStacks.__dataclass_fields__:
        value = args.get(name, "0") or "0"
        if value not in {"0", "1"}:
            raise BadQuery(f"{name} is {value[:32]!r}; it must be 0 or 1.")
        given[name] = value == "1"
    return AskedStacks(**given)


@dataclass(frozen=True)
class FrameLine:
    """A frame of a stack."""

    name: str
    place: str
    look: str
    owner: str
    mark: str  # parts: the first that most have not; with: the last that they have as well


@dataclass(frozen=True)
class MemberShown:
    """A thread of a group."""

    label: str
    href: str | None
    thread: str  # its name and id; empty: the process has one in this group and it is the main one
    tags: tuple[str, ...]


@dataclass(frozen=True)
class GroupShown:
    """A stack with who stands in it."""

    count: int
    who: str
    where: str
    members: tuple[MemberShown, ...]
    more_members: int
    frames: tuple[FrameLine, ...]
    more_frames: int
    is_majority: bool
    is_open: bool
    parts: str | None  # where it leaves what most do, in words
    tags: tuple[str, ...]


@dataclass(frozen=True)
class CensusPage:
    """All that profiles/_census.html may use."""

    asked: AskedStacks
    sentence: str
    seen: int
    asked_of: int
    passes: int
    over_s: float
    groups: tuple[GroupShown, ...]
    resting: tuple[GroupShown, ...]
    resting_threads: int
    more_groups: int
    missing: tuple[tuple[str, str | None, WhyNot | None], ...]  # label, link, why
    links: dict[str, str]


@dataclass(frozen=True)
class ThreadsPage:
    """All that profiles/_threads.html may use."""

    asked: AskedStacks
    title: str
    python: str
    threads: int
    groups: tuple[GroupShown, ...]
    resting: tuple[GroupShown, ...]
    resting_threads: int
    why_not: WhyNot | None
    links: dict[str, str]


def census_page(members: list[Member], asked: AskedStacks, to: To) -> CensusPage:
    """Many processes together."""
    found = census(members, lines=asked.lines, everything=asked.everything)
    return CensusPage(
        asked=asked,
        sentence=found.sentence,
        seen=found.seen,
        asked_of=len(members),
        passes=found.passes,
        over_s=found.over_s,
        groups=tuple(_group(group, found, place < OPEN) for place, group in enumerate(found.groups[:MOST_GROUPS])),
        resting=tuple(_group(group, found, False) for group in found.resting[:MOST_GROUPS]),
        resting_threads=sum(map(len, found.resting)),
        more_groups=max(0, len(found.groups) - MOST_GROUPS),
        missing=tuple((shortened(one.label, 60), one.href, _why(one)) for one in found.missing),
        links=_links(asked, to),
    )


def threads_page(process: ProcessStacks, asked: AskedStacks, to: To) -> ThreadsPage:
    """One process with its threads."""
    awake, resting = threads_of(process, lines=asked.lines)
    return ThreadsPage(
        asked=asked,
        title=shortened(process.title, 200) if process.title else "",
        python=shortened(process.python, 64) if process.python else "",
        threads=len(process.threads),
        groups=tuple(_group(group, None, True) for group in awake[:MOST_GROUPS]),
        resting=tuple(_group(group, None, False) for group in resting[:MOST_GROUPS]),
        resting_threads=sum(map(len, resting)),
        why_not=process.why_not,
        links=_links(asked, to),
    )


def as_text(processes: list[tuple[str, ProcessStacks]]) -> Iterator[bytes]:
    """Stacks of processes with their labels, in the form of `py-spy dump`."""
    for label, process in processes:
        python = [f"Python {exports.visible(process.python)}"] if process.python else []
        lines = [exports.visible(label), f"Process {process.pid}: {exports.visible(process.title)}", *python]
        for thread in process.threads:
            state = "active" if thread.is_active else "idle"
            gil = "+gil" if thread.owns_gil else ""
            lines.append(f'\nThread {thread.os_id} ({state}{gil}): "{exports.visible(thread.name)}"')
            lines += map(_dumped, reversed(thread.frames))
        if process.why_not is not None:
            lines.append(f"    {process.why_not.reason} {exports.visible(process.why_not.detail)}")
        yield ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def as_json(processes: list[tuple[str, ProcessStacks]]) -> Iterator[bytes]:
    """A JSON list, a process at a time; frames outermost first."""
    comma = b"["
    for label, process in processes:
        told = {name: getattr(process, name) for name in process.__struct_fields__ if name != "threads"}
        threads = [
            {name: getattr(thread, name) for name in thread.__struct_fields__ if name != "frames"}
            | {"frames": [{"function": one.function, "file": one.file or None, "line": one.line or None} for one in thread.frames]}
            for thread in process.threads
        ]
        yield comma + exports.as_json({"label": label, **told, "threads": threads})
        comma = b","
    yield b"]" if comma == b"," else b"[]"


def _dumped(frame: Frame) -> str:
    line = f":{frame.line}" if frame.line else ""
    return f"    {exports.visible(frame.function)} ({exports.visible(frame.file)}{line})"


def _links(asked: AskedStacks, to: To) -> dict[str, str]:
    return {
        "functions": to(**asked.arguments(lines=False)),
        "lines": to(**asked.arguments(lines=True)),
        "main": to(**asked.arguments(everything=False)),
        "everything": to(**asked.arguments(everything=True)),
    }


def _group(group: Group, of: Census | None, is_open: bool) -> GroupShown:
    members = tuple(_member(one, is_alone=of is None) for one in group.standing[:MOST_MEMBERS])
    of_all = _tags(group)
    shared = [] if len(group) > len(members) else [tag for tag in members[0].tags if all(tag in one.tags for one in members)]
    shown = group.frames[-MOST_FRAMES:]
    left_out = len(group.frames) - len(shown)
    return GroupShown(
        count=len(group),
        who=members[0].label if len(group) == 1 else f"{number(len(group))} {shortened(group.standing[0].member.kind, 60)}".strip(),
        where=where(group.frames),
        members=members,
        more_members=len(group) - len(members),
        frames=tuple(_line(frame, left_out + place, group) for place, frame in enumerate(shown))[::-1],
        more_frames=left_out,
        is_majority=group.is_majority,
        is_open=is_open,
        parts=_parts(group),
        tags=(*of_all, *(tag for tag in shared if tag not in of_all)),
    )


def _line(frame: Frame, place: int, group: Group) -> FrameLine:
    label = label_of(frame, lines=True)
    depth = group.parting.depth if group.parting is not None else -2
    mark = {depth: "parts", depth - 1: "with"}.get(place, "")
    return FrameLine(shortened(frame.function, 300) or "(no name)", place_of(label), look_of(label), shortened(owner_of(label), 40), mark)


def _member(one: Standing, *, is_alone: bool) -> MemberShown:
    thread = one.thread
    name = shortened(thread.name, 80) if thread.name else "thread"
    named = f"{name} {thread.os_id}" if thread.os_id else name
    tags = [("holds the GIL", thread.owns_gil), ("active", thread.is_active), (one.movement, bool(one.movement) and not is_alone)]
    label = named if is_alone else shortened(one.member.label, 80)
    shown = "" if is_alone or one.is_main else named
    return MemberShown(label, one.member.href, shown, tuple(text for text, is_so in tags if is_so))


def _parts(group: Group) -> str | None:
    if group.parting is None:
        return None
    frames = (group.parting.common, group.parting.here, group.parting.there)
    common, here, there = (None if frame is None else shortened(frame.function, 80) or "(no name)" for frame in frames)
    if here is not None and here == there:
        here, there = (f"{here} ({place_of(label_of(frame, lines=False))})" for frame in frames[1:] if frame is not None)
    after = f"after {common}" if common else "from the start"
    return f"{after}: {here or 'it ends there'}, where most have {there or 'nothing more'}"


def _tags(group: Group) -> tuple[str, ...]:
    counted = [(group.count(word), word) for word in (STUCK, BUSY, MOVING)]
    return tuple(word if count == len(group) else f"{number(count)} {word}" for count, word in counted if count)


def _why(member: Member) -> WhyNot | None:
    return next((answer.why_not for answer in reversed(member.passes) if answer.why_not is not None), None)
