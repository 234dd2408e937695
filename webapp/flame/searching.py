"""Looking for frames by name: plain text, in which * stands for anything. No expression: long names could make one slow. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clusterstate.stacks import Samples
from webapp.flame.labels import FRAME, MODULE, Label
from webapp.flame.tree import Shape, Tree, stacks_of

MOST_PLACES = 1_000
"""That one can go through, one after another."""
LONGEST = 200


@dataclass(frozen=True)
class Wanted:
    """What is looked for: the parts stand in this order in a function's name and file, whatever is between them."""

    parts: tuple[str, ...]

    def matches(self, label: Label) -> bool:
        if label.kind not in (FRAME, MODULE):
            return False
        text = f"{label.name} {label.file}".casefold()
        at = 0
        for part in self.parts:
            at = text.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return True


def wanted(text: str) -> Wanted | None:
    """None: nothing is looked for."""
    parts = tuple(part for part in text.casefold().strip().split("*") if part)
    return Wanted(parts) if parts else None


def found_labels(tree: Tree, what: Wanted) -> frozenset[int]:
    return frozenset(number for number, label in enumerate(tree.labels) if what.matches(label))


def found_count(samples: Samples, what: Wanted, shape: Shape) -> int:
    """Of the stacks in which something matches, each counted once."""
    places = {place for place, frame in enumerate(samples.frames) if what.matches(shape.label(frame))}
    return sum(stack.count for stack in stacks_of(samples, shape.thread) if not places.isdisjoint(stack.frames)) if places else 0


def found_nodes(tree: Tree, labels: frozenset[int], weights: list[int]) -> tuple[list[int], bool]:
    """Where to look, from left to right: nodes that match and stand below none that does. And whether there are more."""
    found: list[int] = []
    below: set[int] = set()
    for node in tree.depth_first(weights):
        if node and tree.parent[node] in below:
            below.add(node)
        elif tree.label[node] in labels:
            if len(found) == MOST_PLACES:
                return found, True
            found.append(node)
            below.add(node)
    return found, False


def neighbours(found: Iterable[int], at: int) -> tuple[int | None, int | None, int | None]:
    """Which of them is shown (from 1; None: none), the one before and the one after it, around the end."""
    places = list(found)
    if not places:
        return None, None, None
    if at not in places:
        return None, places[-1], places[0]
    here = places.index(at)
    return here + 1, places[here - 1], places[(here + 1) % len(places)]
