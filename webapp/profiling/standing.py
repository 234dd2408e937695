"""How a profile stands: of each host that was asked, and of all together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clusterstate.profile_answers import (
    OTHERS_CHILD,
    PROCESS_ENDED,
    STOPPED,
    TASK_ENDED,
    TOO_LARGE,
    ProcessStacks,
    ProfileProgress,
    StacksPart,
    WhyNot,
    read,
)
from clusterstate.profiles import CENSUS, CPU, RECORDED, SAMPLED, STACKS, TRACED, Asked, Profile, Profiles, Standing, Target
from clusterstate.stacks import Unreadable

WAITING, RUNNING, DONE, FAILED, CANCELED = "WAITING", "RUNNING", "DONE", "FAILED", "CANCELED"
WORDS_OF_ENDS = {
    STOPPED: "It was stopped before its time; what was sampled until then is here.",
    PROCESS_ENDED: "The process ended meanwhile; what was sampled until then is here.",
    TASK_ENDED: "The task ended meanwhile; what was sampled while it ran is here.",
    TOO_LARGE: "There were more different stacks than memory is given for; what was sampled until then is here.",
    OTHERS_CHILD: "Another user's process began below it, which is not looked into; what was sampled until then is here.",
}
CANCELED_WORDS = "It was cancelled: nothing of it was kept."
NOTHING = {
    STOPPED: "It was stopped before anything was sampled.",
    PROCESS_ENDED: "The process ended before anything was sampled.",
    TASK_ENDED: "The task ended before anything was sampled.",
    TOO_LARGE: "py-spy took more memory than it is given before anything was sampled.",
    OTHERS_CHILD: "Another user's process began below it, which is not looked into.",
}
WORDS = {
    "native": "with native frames",
    "idle": "with idle threads",
    "gil": "holding the GIL",
    "nonblocking": "without stopping it",
    "leaks": "what was not freed",
    "python_allocators": "with Python allocators",
}
RUNS_UNSEEN_S = 0.5
MOSTLY = 0.05
"""Of the samples that one busy thread has."""
PROGRESS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) of (\d{1,9}(?:\.\d{1,3})?)\b")
FORGOTTEN = "Its answer is not known: nobody took the question in time, or Redis came back without it."


@dataclass(frozen=True)
class Missing:
    """Processes of which nothing is there, and why."""

    targets: tuple[Target, ...]
    problem: str | None
    why_not: WhyNot | None


@dataclass(frozen=True)
class HostStanding:
    """What one host was asked, and how far it is."""

    asked: Asked
    state: str
    progress: ProfileProgress | None
    words: str | None  # while it runs
    problem: str | None
    since: float | None  # when it was asked
    done: float | None = None  # per cent, of a recording that runs
    stacks: tuple[ProcessStacks, ...] = ()  # of a stack trace

    @property
    def is_over(self) -> bool:
        return self.state not in {WAITING, RUNNING}

    @property
    def has_told(self) -> bool:
        """Samples, or a trace."""
        return self.progress is not None and self.progress.packed_bytes > 0


@dataclass(frozen=True)
class ProfileStanding:
    """A profile as it stands now."""

    profile: Profile
    hosts: tuple[HostStanding, ...]

    @property
    def is_over(self) -> bool:
        return all(host.is_over for host in self.hosts)

    @property
    def state(self) -> str:
        """Of all: RUNNING while any is, DONE if any is done."""
        states = {host.state for host in self.hosts}
        return next((state for state in (RUNNING, WAITING, DONE, CANCELED) if state in states), FAILED)

    @property
    def samples(self) -> int | None:
        """Of all hosts; None where nothing is sampled, or not yet."""
        known = [host.progress.samples for host in self.hosts if host.has_told and host.progress is not None]
        return sum(known) if known and self.profile.kind in SAMPLED else None

    @property
    def has_samples(self) -> bool:
        """Whether there is a flame graph."""
        return self.profile.kind in SAMPLED and any(host.has_told for host in self.hosts)

    @property
    def has_trace(self) -> bool:
        return self.profile.kind in TRACED and any(host.has_told for host in self.hosts)

    @property
    def keeps_when_stopped(self) -> bool:
        """Whether it can be ended before its time with what it has until then."""
        return self.profile.kind in SAMPLED

    @property
    def mostly_waited(self) -> bool:
        """Whether there are so few samples that the process hardly ran, where threads that wait were left out."""
        rate = self.profile.options.get("rate")
        if self.profile.kind != CPU or self.profile.options.get("idle") or self.profile.options.get("gil") or not rate:
            return False
        sampled = sum(host.progress.sampled_s for host in self.hosts if host.progress is not None)
        if self.cpu_s is not None:
            return bool(self.samples) and self.cpu_s < MOSTLY * sampled and not self.counts_what_waits
        return self.samples is not None and 0 < self.samples < MOSTLY * int(rate) * sampled

    @property
    def cpu_s(self) -> float | None:
        """What the processes used while they were sampled; None where that is not known."""
        known = [host.progress.cpu_s for host in self.hosts if host.progress is not None and host.progress.cpu_s is not None]
        return sum(known) if known else None

    @property
    def counts_what_waits(self) -> bool:
        """Whether much more was seen running than used CPU: on a busy machine threads that were just let go on look as if they ran."""
        asked, rate = self.profile.options, self.profile.options.get("rate")
        if not rate or asked.get("idle") or asked.get("nonblocking") or self.cpu_s is None:
            return False
        return (self.samples or 0) / int(rate) > 2 * self.cpu_s + RUNS_UNSEEN_S

    @property
    def options(self) -> tuple[str, ...]:
        return options_in_words(self.profile)

    @property
    def tag(self) -> tuple[object, ...]:
        """Differs when something else is to be shown."""
        return tuple((host.state, host.words, host.problem) for host in self.hosts)

    @property
    def ends(self) -> tuple[str, ...]:
        """What is to be known of how it ended, in sentences."""
        return tuple(dict.fromkeys(_ends(self.profile, self.hosts)))

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Processes that could not be looked into."""
        return tuple(_missing(self.profile, self.hosts))


@dataclass(frozen=True)
class Listed:
    """A profile in a list."""

    profile: Profile
    state: str
    samples: int | None


def listed(profiles: Profiles, profile: Profile) -> Listed:
    """Of one that has ended its record tells enough, once somebody has seen that."""
    if profile.outcome is not None:
        return Listed(profile, profile.outcome.state, profile.outcome.samples)
    standing = standing_of(profiles, profile)
    if standing.is_over:
        profiles.note_outcome(profile, standing.state, standing.samples)
    return Listed(profile, standing.state, standing.samples)


def options_in_words(profile: Profile) -> tuple[str, ...]:
    """What was asked for."""
    numbers = {"duration": "{} s", "rate": "{} Hz", "passes": "{} passes"}
    return tuple(
        numbers[name].format(value) if name in numbers else WORDS.get(name, f"with {name}")
        for name, value in profile.options.items()
        if value and not (name == "passes" and value == 1)
    )


def standing_of(profiles: Profiles, profile: Profile) -> ProfileStanding:
    """A round trip for each host."""
    return ProfileStanding(profile, tuple(_host(one, profile) for one in profiles.standing(profile)))


def _host(one: Standing, profile: Profile) -> HostStanding:
    if one.asked.probe_id is None:
        return HostStanding(one.asked, FAILED, None, None, one.asked.problem, None)
    answer = one.answer
    if answer is None:
        return HostStanding(one.asked, FAILED, None, None, FORGOTTEN, None)
    is_recorded = profile.kind in RECORDED
    stacks: tuple[ProcessStacks, ...] = ()
    try:
        progress = one.progress if is_recorded else None
        if profile.kind == STACKS and answer.state == DONE:
            stacks = read(answer.value, StacksPart).processes
    except Unreadable as why:
        return HostStanding(one.asked, FAILED, None, None, f"Its answer cannot be read: {why}", answer.asked_at)
    done = _done(answer.progress)
    state = answer.state if answer.state in {WAITING, RUNNING, DONE, CANCELED} else FAILED
    if state == DONE and _came_to_nothing(progress, stacks):
        state = FAILED
    return HostStanding(one.asked, state, progress, answer.progress, answer.problem, answer.asked_at, done, stacks)


def _came_to_nothing(progress: ProfileProgress | None, stacks: tuple[ProcessStacks, ...]) -> bool:
    """Whether it was answered why not, and nothing else."""
    if progress is not None:
        all_missing = bool(progress.processes) and all(one.why_not is not None for one in progress.processes)
        return not progress.packed_bytes and (progress.why_not is not None or bool(progress.ended) or all_missing)
    return bool(stacks) and all(one.why_not is not None and not one.threads for one in stacks)


def _done(words: str | None) -> float | None:
    """How far "12 of 60 s" is."""
    found = PROGRESS.match(words or "")
    if found is None or not float(found[2]):
        return None
    return round(min(100.0, 100 * float(found[1]) / float(found[2])), 1)


def _ends(profile: Profile, hosts: tuple[HostStanding, ...]) -> Iterator[str]:
    for host in hosts:
        progress = host.progress
        if host.state == CANCELED:
            yield "It was cancelled; what was told until then is here." if profile.kind == CENSUS else CANCELED_WORDS
        if progress is not None and progress.ended in WORDS_OF_ENDS:
            words = WORDS_OF_ENDS[progress.ended] if host.has_told else NOTHING[progress.ended]
            yield f"{words} {progress.detail}".strip()
        elif progress is not None and progress.detail:
            yield progress.detail
        if progress is not None and progress.errors:
            yield f"{progress.errors} samples could not be read, because the stack changed while it was looked at."


def _missing(profile: Profile, hosts: tuple[HostStanding, ...]) -> Iterator[Missing]:
    for host in hosts:
        of_host = [profile.targets[place] for place in host.asked.targets if place < len(profile.targets)]
        if host.problem is not None and host.state != CANCELED:
            yield Missing(tuple(of_host), host.problem, None)
        for process in host.stacks:
            if process.why_not is not None and not process.threads:
                yield Missing(tuple(target for target in of_host if target.pid == process.pid), None, process.why_not)
        if host.progress is None:
            continue
        if host.progress.why_not is not None and not host.progress.processes:
            yield Missing(tuple(of_host), None, host.progress.why_not)
        by_reason: dict[WhyNot, list[Target]] = {}
        by_pid = {target.pid: target for target in of_host}
        for one in host.progress.processes:
            if one.why_not is not None and one.pid in by_pid:
                by_reason.setdefault(one.why_not, []).append(by_pid[one.pid])
        for why_not, targets in by_reason.items():
            yield Missing(tuple(targets), None, why_not)
