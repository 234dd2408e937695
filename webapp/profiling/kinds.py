"""The kinds of profile: what each is called, which options it has, which probe it becomes. A new kind is an entry here.

Beside it stand its name and what it tells (clusterstate.profiles), its probe (clusterstate.probes), who answers that (workers/probes), and
what shows its result (webapp.profiling.results).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clusterstate.probes import DumpDeepStacks, DumpManyStacks, DumpStacks, RecordCpu, RecordGpu, RecordJax, RecordManyCpu, RecordMemory
from clusterstate.profile_answers import Abilities, WhyNot
from clusterstate.profiles import CENSUS, CPU, GPU, JAX, MEMORY, MERGED, SAMPLED, STACKS, Option, Target
from clusterstate.stacks import BYTES, SAMPLES

MOST_SECONDS, MOST_HZ, MOST_TRACE_SECONDS = 300, 500, 60


@dataclass(frozen=True)
class Number:
    """An option that is a whole number."""

    label: str
    low: int
    high: int
    default: int
    unit: str


@dataclass(frozen=True)
class Switch:
    """An option that is on or off."""

    label: str
    hint: str


@dataclass(frozen=True)
class OnHost:
    """What a host is asked: its processes, and the options of the whole profile."""

    targets: tuple[Target, ...]
    options: Mapping[str, Option]
    while_task: str  # the name of a task: it ends with that

    def number(self, name: str) -> int:
        return int(self.options[name])

    @property
    def flags(self) -> dict[str, Any]:
        """The switches, by the names that probes have for them."""
        return {name: value for name, value in self.options.items() if isinstance(value, bool)}

    @property
    def one(self) -> tuple[str, int, int]:
        """Node, pid and start of the only process."""
        [target] = self.targets
        return target.node_id, target.pid, target.started_ms

    @cached_property
    def many(self) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
        """As probes of many take them: a node, pids, starts, and the node of each as a place among the nodes."""
        node_ids = tuple(dict.fromkeys(target.node_id for target in self.targets))
        nodes = tuple(node_ids.index(target.node_id) for target in self.targets)
        return node_ids[0], tuple(one.pid for one in self.targets), tuple(one.started_ms for one in self.targets), nodes, node_ids


@dataclass(frozen=True)
class Kind:
    """A kind of profile."""

    name: str  # one of clusterstate.profiles.KINDS
    label: str
    explained: str
    options: Mapping[str, Number | Switch]
    probe: Callable[[OnHost], Any]
    in_the_way: Callable[[Abilities], WhyNot | None]  # of what a node says it can do
    of_many: bool = False  # of things with many processes; else of one process
    unit: str = SAMPLES  # of what is counted

    @property
    def is_sampled(self) -> bool:
        """Whether there is a flame graph of it, which can be compared."""
        return self.name in SAMPLED

    @property
    def can_be_idle(self) -> bool:
        """Whether threads that wait can be asked for."""
        return "idle" in self.options


GIL = Switch("Holding the GIL", "Only threads that hold Python's lock: what keeps the others waiting")
NONBLOCKING = Switch("Without stopping it", "Not held for each sample: nothing is slowed, some samples are torn. Not with native frames")


def _stacks(asked: OnHost) -> Any:
    return (DumpDeepStacks if any(asked.flags.values()) else DumpStacks)(*asked.one, **asked.flags)


ALL = (
    Kind(
        STACKS,
        "Stack trace",
        "Where each thread stands now.",
        {
            "native": Switch("Native frames", "C, C++ and Cython too; takes longer, and the process stands still meanwhile"),
            "subprocesses": Switch("Subprocesses", "Python processes below it, such as those of a DataLoader"),
        },
        _stacks,
        lambda abilities: abilities.stacks,
    ),
    Kind(
        CPU,
        "CPU flame graph",
        "What it runs, sampled for a while by py-spy.",
        {
            "duration": Number("Duration", 1, MOST_SECONDS, 10, "s"),
            "rate": Number("Rate", 1, MOST_HZ, 100, "Hz"),
            "native": Switch("Native frames", "C, C++ and Cython too; costs the process more"),
            "idle": Switch("Idle threads", "Threads that wait count too: shows where time goes, not only CPU"),
            "subprocesses": Switch("Subprocesses", "Python processes below it"),
            "gil": GIL,
            "nonblocking": NONBLOCKING,
        },
        lambda asked: RecordCpu(*asked.one, asked.number("duration"), asked.number("rate"), while_task=asked.while_task, **asked.flags),
        lambda abilities: abilities.stacks,
    ),
    Kind(
        MEMORY,
        "Memory",
        "What it allocates, followed by memray for a while.",
        {
            "duration": Number("Duration", 1, MOST_SECONDS, 10, "s"),
            "native": Switch("Native frames", "C, C++ and Cython too"),
            "leaks": Switch("Leaks", "What was not freed by the end, instead of what was held at the highest point"),
            "python_allocators": Switch("Python allocators", "Small objects one by one; slow"),
        },
        lambda asked: RecordMemory(*asked.one, asked.number("duration"), while_task=asked.while_task, **asked.flags),
        lambda abilities: abilities.memory,
        unit=BYTES,
    ),
    Kind(
        GPU,
        "GPU trace",
        "What PyTorch runs on the GPU and the CPU, operator by operator: the process traces itself, asked through dynolog.",
        {"duration": Number("Duration", 1, MOST_TRACE_SECONDS, 5, "s")},
        lambda asked: RecordGpu(*asked.one, asked.number("duration")),
        lambda abilities: abilities.gpu,
    ),
    Kind(
        JAX,
        "JAX trace",
        "What JAX runs on its devices and the host: collected from the profiler server that the program started.",
        {"duration": Number("Duration", 1, MOST_TRACE_SECONDS, 5, "s")},
        lambda asked: RecordJax(*asked.one, asked.number("duration")),
        lambda abilities: abilities.jax,
    ),
    Kind(
        CENSUS,
        "Stacks of all",
        "Where all of them stand, equal stacks together, the odd ones first.",
        {"passes": Number("Passes", 1, 5, 3, "times"), "native": Switch("Native frames", "C, C++ and Cython too")},
        lambda asked: DumpManyStacks(*asked.many, passes=asked.number("passes"), **asked.flags),
        lambda abilities: abilities.stacks,
        of_many=True,
    ),
    Kind(
        MERGED,
        "CPU flame graph of all",
        "What they run, sampled for a while and added up.",
        {
            "duration": Number("Duration", 1, 60, 10, "s"),
            "rate": Number("Rate", 1, 100, 20, "Hz"),
            "native": Switch("Native frames", "C, C++ and Cython too; costs the processes more"),
            "idle": Switch("Idle threads", "Threads that wait count too"),
            "gil": GIL,
            "nonblocking": NONBLOCKING,
        },
        lambda asked: RecordManyCpu(*asked.many, asked.number("duration"), asked.number("rate"), **asked.flags),
        lambda abilities: abilities.stacks,
        of_many=True,
    ),
)
BY_NAME = {kind.name: kind for kind in ALL}
