"""Samples as a call tree: every count in it is exact. Nodes are numbers, children after their parents, so that nothing recurses. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from clusterstate.stacks import Frame, Samples, Stack, Thread
from webapp.flame.labels import (
    ROOT,
    Label,
    have_several,
    key_of_function,
    key_of_thread,
    label_of,
    label_of_module,
    label_of_process,
    label_of_thread,
    number_of,
)

MOST_NODES = 400_000
"""Of a tree. What goes deeper then is counted where it was left; some 100 bytes each."""
BY_THREAD, BY_PROCESS = "thread", "process"

_MIXER = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Shape:
    """How stacks become a tree."""

    lines: bool = False  # a function is another one on another line
    by: str = ""  # BY_THREAD or BY_PROCESS: that is the level below the root
    inverted: bool = False  # innermost frames first: who called what took the time
    thread: str = ""  # the key of the only thread; empty: all
    modules: bool = False  # functions of a module that call one another are one box

    def label(self, frame: Frame) -> Label:
        """What a frame stands as."""
        return label_of_module(frame) if self.modules else label_of(frame, lines=self.lines)


@dataclass(frozen=True)
class Tree:
    """A call tree. Node 0 is the root; a node's number is greater than its parent's."""

    labels: list[Label]
    parent: array[int]
    label: array[int]  # of each node
    own: list[int]  # what ended there
    cut: int = 0  # what was counted higher up, as the tree was full
    before: list[int] | None = None  # of a comparison: what ended there in the first; `own` is of the second
    lines: dict[int, int] = field(default_factory=dict)  # of labels without one that were seen on one line alone

    def __len__(self) -> int:
        return len(self.parent)

    @cached_property
    def total(self) -> list[int]:
        """Of each node: its own and its children's."""
        return self.summed(self.own)

    @cached_property
    def total_before(self) -> list[int]:
        return self.summed(self.before) if self.before is not None else self.total

    def summed(self, values: Iterable[int]) -> list[int]:
        sums = list(values)
        parent = self.parent
        for node in range(len(sums) - 1, 0, -1):
            sums[parent[node]] += sums[node]
        return sums

    @cached_property
    def size(self) -> list[int]:
        """How many nodes stand in and below each."""
        return self.summed([1] * len(self))

    @cached_property
    def children(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for node in range(1, len(self)):
            found.setdefault(self.parent[node], []).append(node)
        return found

    def ordered(self, node: int, weights: Sequence[int]) -> list[int]:
        """Its children, the heaviest first."""
        return sorted(self.children.get(node, ()), key=lambda child: (-weights[child], self.labels[self.label[child]]))

    @cached_property
    def numbers(self) -> array[int]:
        """Of each node one that follows from its path alone."""
        of_labels = [number_of(*label) for label in self.labels]
        found = array("Q", bytes(8 * len(self)))
        for node in range(1, len(self)):
            found[node] = ((found[self.parent[node]] + 1) * _MIXER ^ of_labels[self.label[node]]) & _MASK
        return found

    def key(self, node: int) -> str:
        """A node for a URL; empty: the root."""
        return f"{self.numbers[node]:016x}" if node else ""

    def find(self, key: str) -> int | None:
        """The node that a key means."""
        if not key:
            return 0
        try:
            return self.numbers.index(int(key, 16))
        except (ValueError, OverflowError):
            return None

    def path(self, node: int) -> list[int]:
        """From the root to the node, both included."""
        found = [node]
        while found[-1]:
            found.append(self.parent[found[-1]])
        return found[::-1]

    def depth_first(self, weights: Sequence[int]) -> Iterator[int]:
        """All nodes as they stand from left to right, each before its children."""
        waiting = [0]
        while waiting:
            node = waiting.pop()
            yield node
            if node in self.children:
                waiting += reversed(self.ordered(node, weights))


class Growing:
    """Makes a tree of stacks, and of two profiles at once where they are compared."""

    def __init__(self, most: int = MOST_NODES) -> None:
        self._most = most
        self._labels: dict[Label, int] = {ROOT: 0}
        self._children: dict[int, int] = {}  # parent and label in one number → node
        self._parent, self._label = array("q", [0]), array("q", [0])
        self._own, self._before = [0], [0]  # no arrays: what a program claims may be more than 64 bits in sum
        self._lines: dict[int, int] = {}
        self._cut = 0

    def number(self, label: Label) -> int:
        return self._labels.setdefault(label, len(self._labels))

    def numbers(self, frames: Iterable[Frame], shape: Shape) -> list[int]:
        """The labels of frames, by place."""
        found = []
        for frame in frames:
            number = self.number(shape.label(frame))
            found.append(number)
            if not shape.lines and self._lines.setdefault(number, frame.line) != frame.line:
                self._lines[number] = 0
        return found

    def add(self, path: Iterable[int], count: int, *, is_first: bool = False) -> None:
        """A stack as numbers of labels, from the root on. `is_first`: of the first of two profiles."""
        children, node = self._children, 0
        for label in path:
            key = node << 24 | label
            child = children.get(key)
            if child is None:
                child = len(self._parent)
                if child >= self._most:
                    self._cut += count
                    break
                children[key] = child
                self._parent.append(node)
                self._label.append(label)
                self._own.append(0)
                self._before.append(0)
            node = child
        (self._before if is_first else self._own)[node] += count

    def tree(self, *, compares: bool = False) -> Tree:
        before = self._before if compares else None
        return Tree(list(self._labels), self._parent, self._label, self._own, self._cut, before, self._lines)


def grow(samples: Samples, shape: Shape, most: int = MOST_NODES) -> Tree:
    """The call tree of a profile."""
    growing = Growing(most)
    plant(growing, samples, shape)
    return growing.tree()


def plant(growing: Growing, samples: Samples, shape: Shape, *, is_first: bool = False) -> None:
    """Adds a profile to a tree that grows."""
    numbers = growing.numbers(samples.frames, shape)
    roots = _roots(growing, samples.threads, shape)
    for stack in stacks_of(samples, shape.thread):
        frames = stack.frames[::-1] if shape.inverted else stack.frames
        path: Iterable[int] = map(numbers.__getitem__, frames)
        if shape.modules:
            path = (number for number, _ in groupby(path))
        growing.add([*roots[stack.thread], *path], stack.count, is_first=is_first)


def stacks_of(samples: Samples, thread: str = "") -> Iterator[Stack]:
    """The stacks of the thread that the key names; all without one."""
    if not thread:
        yield from samples.stacks
        return
    chosen = {place for place, other in enumerate(samples.threads) if key_of_thread(other) == thread}
    yield from (stack for stack in samples.stacks if stack.thread in chosen)


def _roots(growing: Growing, threads: Sequence[Thread], shape: Shape) -> list[tuple[int, ...]]:
    if shape.by == BY_THREAD:
        several = have_several(threads)
        return [
            (*((growing.number(label_of_process(thread)),) if several else ()), growing.number(label_of_thread(thread)))
            for thread in threads
        ]
    if shape.by == BY_PROCESS:
        return [(growing.number(label_of_process(thread)),) for thread in threads]
    return [()] * len(threads)


@dataclass(frozen=True)
class Sandwich:
    """Who calls a function and whom it calls. The root's one child of each tree is the function, unless it was never seen."""

    callers: Tree  # the function, then who called it
    callees: Tree  # the function, then whom it called


def sandwich(samples: Samples, function: str, shape: Shape, most: int = MOST_NODES) -> Sandwich:
    """Of the function that a key names. A stack counts once: from the outermost place where the function stands in it."""
    chosen = {place for place, frame in enumerate(samples.frames) if key_of_function(label_of(frame, lines=False)) == function}
    up, down = Growing(most), Growing(most)
    names_up, names_down = (tree.numbers(samples.frames, shape) for tree in (up, down))
    for stack in stacks_of(samples, shape.thread):
        if chosen.isdisjoint(stack.frames):
            continue
        at = next(depth for depth, place in enumerate(stack.frames) if place in chosen)
        up.add([names_up[place] for place in stack.frames[at::-1]], stack.count)
        down.add([names_down[place] for place in stack.frames[at:]], stack.count)
    return Sandwich(up.tree(), down.tree())
