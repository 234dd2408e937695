"""Stacks of many threads together: equal ones are one group, what stands apart comes first, the stuck is told from the slow. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clusterstate.profile_answers import ProcessStacks, ThreadStack
from clusterstate.stacks import Frame
from webapp.flame.labels import NATIVE, RAY, STDLIB, module_of, named, origin_of
from webapp.formatting import shortened

STUCK, BUSY, MOVING, UNKNOWN = "stuck", "busy on the same lines", "moving", ""
MAIN_NAME = "MainThread"
NAMED = 3
"""Groups beside the largest that the sentence names."""
KINDS_NAMED = 3

RUN_S = 0.02
"""Two of the kernel's ticks: a thread that waits with a time limit uses less in a few seconds."""

_NUMBERS = re.compile(r"\d+")
FrameKey = tuple[object, ...]


@dataclass(frozen=True)
class Member:
    """A process that was looked into, some times over."""

    label: str  # an actor's name, a rank, a worker
    passes: tuple[ProcessStacks, ...]  # in the order of time; each as it was answered
    href: str | None = None
    kind: str = ""  # of which it is one of several, such as a class of actors: those of a kind are held against one another

    @property
    def last(self) -> ProcessStacks | None:
        """The newest answer with threads."""
        return next((answer for answer in reversed(self.passes) if answer.threads), None)


@dataclass(frozen=True)
class Standing:
    """A thread of a member as it stood last."""

    member: Member
    thread: ThreadStack
    is_main: bool  # the main thread, or in its place those that run tasks or coroutines, where it only waits for tasks
    movement: str  # on the same lines in every pass: STUCK, or BUSY if it ran each time; MOVING; UNKNOWN: there was one pass


@dataclass(frozen=True)
class Parting:
    """Where a stack leaves that of most."""

    depth: int  # how many frames they have in common
    common: Frame | None  # the last frame of both; None: they have none
    here: Frame | None  # the first that differs; None: it ends there
    there: Frame | None


@dataclass(frozen=True)
class Group:
    """Threads with equal stacks."""

    frames: tuple[Frame, ...]  # of one of them, outermost first
    standing: tuple[Standing, ...]
    is_majority: bool = False
    parting: Parting | None = None

    def __len__(self) -> int:
        return len(self.standing)

    @property
    def is_resting(self) -> bool:
        """Threads of a pool or of Ray that wait for work: none of a program's own code is in them."""
        if any(one.is_main or one.thread.is_active or one.thread.owns_gil for one in self.standing):
            return False
        return all(origin_of(frame.file) in (STDLIB, NATIVE, RAY) or not frame.file for frame in self.frames)

    def count(self, movement: str) -> int:
        return sum(one.movement == movement for one in self.standing)


@dataclass(frozen=True)
class Census:
    """All of many processes."""

    groups: tuple[Group, ...]  # what stands apart first, if most stand together; else the largest first
    resting: tuple[Group, ...]
    seen: int  # members with an answer
    missing: tuple[Member, ...]
    passes: int
    over_s: float  # from the first look to the last
    sentence: str


def census(members: Sequence[Member], *, lines: bool = False, everything: bool = False) -> Census:
    """Of the main threads, or of all, those of a role beside one another. Equal are stacks of equal functions, or of equal lines."""
    key = _key_of(lines=lines)
    present = [member for member in members if member.last is not None]
    of_roles: dict[str, list[Standing]] = {}
    for member in present:
        for one in _standing(member):
            if everything or one.is_main:
                of_roles.setdefault(_role(one), []).append(one)
    roles: list[list[Group]] = []
    resting: list[Group] = []
    for standing in of_roles.values():
        groups = _grouped(standing, key)
        resting += (group for group in groups if group.is_resting)
        awake = [group for group in groups if not group.is_resting]
        if awake:
            roles.append(_with_partings(_in_order(awake), key))
    roles.sort(key=_order_of_role)
    return Census(
        groups=tuple(group for groups in roles for group in groups),
        resting=tuple(sorted(resting, key=lambda group: -len(group))),
        seen=len(present),
        missing=tuple(member for member in members if member.last is None),
        passes=max((len(member.passes) for member in members), default=0),
        over_s=_between([answer.at for member in present for answer in member.passes if answer.at]),
        sentence=_sentence([groups for groups in roles if groups[0].standing[0].is_main]),
    )


def _between(moments: list[float]) -> float:
    return max(moments) - min(moments) if moments else 0.0


def threads_of(process: ProcessStacks, *, lines: bool = False) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """Threads of one process: those that run first, equal ones together; and those that only wait for work."""
    groups = sorted(_grouped(_standing(Member("", (process,))), _key_of(lines=lines)), key=_interest)
    return tuple(group for group in groups if not group.is_resting), tuple(group for group in groups if group.is_resting)


def main_thread(process: ProcessStacks) -> ThreadStack | None:
    """The thread that a process began with."""
    threads = process.threads
    by_id = next((thread for thread in threads if thread.os_id == process.pid), None)
    return by_id or next((thread for thread in threads if thread.name == MAIN_NAME), None) or (threads[0] if threads else None)


def where(frames: Sequence[Frame]) -> str:
    """The innermost function that tells something, with its package: what waits in the standard library is named by who waits."""
    if not frames:
        return "no Python code"
    if has_no_task(frames):
        return "Ray's main loop, waiting for tasks"
    if awaits(frames):
        return "the event loop: coroutines that wait stand in no stack"
    telling = next((frame for frame in reversed(frames) if frame.file and origin_of(frame.file) not in (STDLIB, NATIVE)), frames[-1])
    name, place = shortened(telling.function, 80) or "(no name)", _folder(telling.file)
    return f"{name} ({place})" if place else name


def has_no_task(frames: Sequence[Frame]) -> bool:
    """Whether it is a Ray worker's own thread that waits to be given a task."""
    return bool(frames) and _last_name(frames[-1]) == "main_loop" and origin_of(frames[-1].file) == RAY


def awaits(frames: Sequence[Frame]) -> bool:
    """Whether it is a thread of asyncio in which no coroutine runs now."""
    return bool(frames) and origin_of(frames[-1].file) == STDLIB and any(_last_name(frame) == "_run_once" for frame in frames[-2:])


def runs_task(frames: Sequence[Frame]) -> bool:
    """Whether it is Ray that called a program's own code there, as in the threads of an actor with several."""
    calls = next((place for place, frame in enumerate(frames) if origin_of(frame.file) == RAY), len(frames))
    return any(frame.file and origin_of(frame.file) not in (RAY, STDLIB, NATIVE) for frame in frames[calls:])


def _last_name(frame: Frame) -> str:
    return frame.function.rpartition(".")[2]


def _folder(file: str) -> str:
    """torch/distributed of torch/distributed/x.py; the name of a program's own file."""
    path = file.replace("\\", "/")
    module, slash = module_of(file), path.rsplit("/", 1)
    at = path.find(f"{module}/") if module and not path.startswith("<") else -1
    return shortened(path[at:].rsplit("/", 1)[0] if at >= 0 else slash[-1], 60) if file else ""


def _key_of(*, lines: bool) -> Callable[[Frame], FrameKey]:
    if lines:
        return lambda frame: (named(frame.function), frame.file, frame.line)
    return lambda frame: (named(frame.function), frame.file)


def _grouped(standing: Iterable[Standing], key: Callable[[Frame], FrameKey]) -> list[Group]:
    found: dict[FrameKey, list[Standing]] = {}
    for one in standing:
        found.setdefault(tuple(map(key, one.thread.frames)), []).append(one)
    return [Group(of_group[0].thread.frames, tuple(of_group)) for of_group in found.values()]


def _role(one: Standing) -> str:
    """Threads of the same role are held against one another: main threads of a kind, and those whose names differ by numbers alone."""
    return f"\0{one.member.kind}" if one.is_main else _NUMBERS.sub("0", one.thread.name)


def _order_of_role(groups: Sequence[Group]) -> tuple[bool, bool, bool, int, str]:
    """Main threads first; of those kinds in which some stand apart from most; last those with no task."""
    first = groups[0].standing[0]
    count = sum(map(len, groups))
    stand_apart = len(groups) > 1 and groups[-1].is_majority
    return (not first.is_main, all(has_no_task(group.frames) for group in groups), not stand_apart, -count, _role(first))


def _standing(member: Member) -> Iterable[Standing]:
    last = member.last
    if last is None:
        return
    telling = {id(thread) for thread in _telling(last)}
    looks = [{_identity(one): one for one in reversed(answer.threads)} for answer in member.passes]  # the first of equal ones
    for thread in last.threads:
        yield Standing(member, thread, id(thread) in telling, _movement(member, thread, looks))


def _telling(process: ProcessStacks) -> list[ThreadStack]:
    """The main thread; where that waits for tasks, the threads that run some, or those of asyncio."""
    main = main_thread(process)
    if main is None or not has_no_task(main.frames):
        return [main] if main is not None else []
    others = [thread for thread in process.threads if thread is not main]
    return [thread for thread in others if runs_task(thread.frames)] or [thread for thread in others if awaits(thread.frames)] or [main]


def _movement(member: Member, thread: ThreadStack, looks: Sequence[dict[tuple[int, str], ThreadStack]]) -> str:
    """A thread is known again by its id, or else by its name, in the same process."""
    if len(member.passes) < 2 or has_no_task(thread.frames) or awaits(thread.frames):
        return UNKNOWN
    seen: list[ThreadStack] = []
    first = member.passes[0]
    for answer, threads in zip(member.passes, looks, strict=True):
        if (answer.pid, answer.started_ms) != (first.pid, first.started_ms):
            return MOVING
        same = threads.get(_identity(thread))
        if same is None:
            return UNKNOWN if answer.why_not is not None else MOVING
        if same.frames != thread.frames:
            return MOVING
        seen.append(same)
    return BUSY if _has_run(seen) else STUCK


def _has_run(seen: Sequence[ThreadStack]) -> bool:
    """Whether a thread that stood on the same lines ran in between: a loop does, what waits does not."""
    before, after = seen[0].cpu_s, seen[-1].cpu_s
    if before is None or after is None:
        return all(one.is_active for one in seen)
    return after - before >= RUN_S


def _identity(thread: ThreadStack) -> tuple[int, str]:
    return (thread.os_id, "") if thread.os_id else (0, thread.name)


def _in_order(groups: list[Group]) -> list[Group]:
    """The smallest first if one group holds more than half of all, which then comes last; else the largest first."""
    by_size = sorted(groups, key=lambda group: (-len(group), group.standing[0].member.label))
    if len(by_size) < 2 or 2 * len(by_size[0]) <= sum(map(len, by_size)):
        return by_size
    majority, *others = by_size
    others.sort(key=lambda group: (len(group), -group.count(STUCK), group.standing[0].member.label))
    return [*others, Group(majority.frames, majority.standing, is_majority=True)]


def _with_partings(groups: list[Group], key: Callable[[Frame], FrameKey]) -> list[Group]:
    majority = next((group for group in groups if group.is_majority), None)
    if majority is None:
        return groups
    return [
        group if group.is_majority else Group(group.frames, group.standing, parting=_parting(group.frames, majority.frames, key))
        for group in groups
    ]


def _parting(frames: Sequence[Frame], others: Sequence[Frame], key: Callable[[Frame], FrameKey]) -> Parting:
    depth = 0
    while depth < min(len(frames), len(others)) and key(frames[depth]) == key(others[depth]):
        depth += 1

    def at(stack: Sequence[Frame]) -> Frame | None:
        return stack[depth] if depth < len(stack) else None

    return Parting(depth, frames[depth - 1] if depth else None, at(frames), at(others))


def _sentence(roles: Sequence[Sequence[Group]]) -> str:
    """Trainer: 63 of 64 in all_reduce (torch/distributed), rank 17 in DataLoader.__next__ (torch/utils/data)."""
    if not roles:
        return "Nothing was seen."
    if len(roles) == 1:
        return _of_role(roles[0])
    left = roles[KINDS_NAMED:]
    more = f"; {sum(len(group) for groups in left for group in groups)} of {len(left)} other kind{'' if len(left) == 1 else 's'}"
    return "; ".join(map(_of_kind, roles[:KINDS_NAMED])) + (more if left else "")


def _of_kind(groups: Sequence[Group]) -> str:
    member = groups[0].standing[0].member
    if len(groups) == 1 and len(groups[0]) == 1:
        return f"{_who(groups[0])} in {where(groups[0].frames)}"
    return f"{shortened(member.kind, 60) or 'others'}: {_of_role(groups)}"


def _of_role(groups: Sequence[Group]) -> str:
    whole = sum(map(len, groups))
    if len(groups) == 1:
        return f"All {whole} in {where(groups[0].frames)}" if whole > 1 else f"In {where(groups[0].frames)}"
    largest = groups[-1] if groups[-1].is_majority else groups[0]
    others = [group for group in groups if group is not largest]
    named = [f"{_who(group)} in {where(group.frames)}" for group in others[:NAMED]]
    left = len(others) - len(named)
    more = f", {sum(map(len, others[NAMED:]))} in {left} other stack{'' if left == 1 else 's'}" if left else ""
    return f"{len(largest)} of {whole} in {where(largest.frames)}, " + ", ".join(named) + more


def _who(group: Group) -> str:
    return shortened(group.standing[0].member.label, 60) if len(group) == 1 else str(len(group))


def _interest(group: Group) -> tuple[bool, ...]:
    threads = [one.thread for one in group.standing]
    return (
        not any(thread.owns_gil for thread in threads),
        not any(thread.is_active for thread in threads),
        not any(one.is_main for one in group.standing),
    )
