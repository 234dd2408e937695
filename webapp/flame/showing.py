"""A flame graph as its template takes it."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate.stacks import Samples, Thread
from webapp.flame.asking import AskedFlame
from webapp.flame.drawing import Drawing, Pen, place_of
from webapp.flame.labels import FRAME, MODULE, have_several, key_of_function, key_of_thread, look_of, owner_of, process_name, thread_name
from webapp.flame.links import Links, To
from webapp.flame.searching import Wanted, found_count, found_labels, found_nodes, neighbours, wanted
from webapp.flame.tree import Tree, grow
from webapp.flame.units import amount, part
from webapp.formatting import shortened

MOST_KEYS = 10
MOST_CRUMBS = 6
MOST_THREADS = 500
GONE = "The frame that the address names is not in this picture: all is shown."


@dataclass(frozen=True)
class Key:
    """An entry of the legend."""

    label: str
    look: str


@dataclass(frozen=True)
class Crumb:
    """A frame on the way to the shown one."""

    name: str
    href: str


@dataclass(frozen=True)
class Search:
    """What was found."""

    count: str
    share: str  # of all samples, each counted once
    places: int
    has_more_places: bool
    here: int | None  # which of the places is shown
    previous: str | None
    next: str | None


@dataclass(frozen=True)
class ThreadChoice:
    """A thread that can be shown alone."""

    key: str
    name: str


@dataclass(frozen=True)
class FlamePage:
    """All that profiles/_flame.html may use."""

    asked: AskedFlame
    links: Links
    is_empty: bool
    total: str  # of what the tree holds
    shown: str
    shown_share: str
    drawing: Drawing
    crumbs: tuple[Crumb, ...]
    left_out: int  # crumbs between the first and the second
    function: str  # the key of the shown function; empty: it is none
    keys: tuple[Key, ...]
    search: Search | None
    threads: tuple[ThreadChoice, ...]
    note: str | None
    cut: str | None  # how much was counted higher up, as the tree was full


def flame_page(samples: Samples, asked: AskedFlame, to: To) -> FlamePage:
    """The picture that the URL asks for."""
    tree = grow(samples, asked.shape)
    links = Links(to, asked)
    at = tree.find(asked.at)
    node = at or 0
    what = wanted(asked.q)
    labels = found_labels(tree, what) if what else None
    drawing = Pen(tree, samples.unit, node, asked.upwards, labels, link=lambda other: links.zoom(tree.key(other))).draw()
    crumbs, left_out = crumbs_of(tree, node, links)
    return FlamePage(
        asked=asked,
        links=links,
        is_empty=tree.total[0] == 0,
        total=amount(tree.total[0], samples.unit),
        shown=amount(tree.total[node], samples.unit),
        shown_share=part(tree.total[node], tree.total[0]),
        drawing=drawing,
        crumbs=crumbs,
        left_out=left_out,
        function=function_of(tree, node),
        keys=legend(tree, drawing),
        search=_search(samples, tree, node, what, asked, links) if what else None,
        threads=thread_choices(samples),
        note=GONE if at is None else None,
        cut=amount(tree.cut, samples.unit) if tree.cut else None,
    )


def function_of(tree: Tree, node: int) -> str:
    """The key of a node's function; empty: it stands for none."""
    label = tree.labels[tree.label[node]]
    return key_of_function(label) if label.kind == FRAME else ""


def legend(tree: Tree, drawing: Drawing) -> tuple[Key, ...]:
    """What the colours mean, those of the widest frames first."""
    found: dict[str, str] = {}
    for number in drawing.labels:
        label = tree.labels[number]
        if label.kind in (FRAME, MODULE) and len(found) < MOST_KEYS:
            found.setdefault(shortened(owner_of(label), 40) or "not known", look_of(label))
    return tuple(Key(owner, look) for owner, look in found.items())


def thread_choices(samples: Samples) -> tuple[ThreadChoice, ...]:
    """Threads with their names, as far as there is a choice."""
    threads = samples.threads[:MOST_THREADS]
    several = have_several(threads)

    def name(thread: Thread) -> str:
        of = f"{process_name(thread)}: " if several else ""
        return shortened(of + (thread.name or thread_name(thread)), 60)

    found = {key_of_thread(thread): name(thread) for thread in threads}
    choices = sorted((name, key) for key, name in found.items())
    return tuple(ThreadChoice(key, name) for name, key in choices) if len(choices) > 1 else ()


def crumbs_of(tree: Tree, node: int, links: Links) -> tuple[tuple[Crumb, ...], int]:
    """The way from the root to a node, and how many frames of it are left out after the first."""
    path = tree.path(node)
    shown = path if len(path) <= MOST_CRUMBS else [path[0], *path[1 - MOST_CRUMBS :]]
    return tuple(_crumb(tree, one, links) for one in shown), len(path) - len(shown)


def _crumb(tree: Tree, node: int, links: Links) -> Crumb:
    label = tree.labels[tree.label[node]]
    return Crumb(shortened(label.name, 60) or place_of(label) or "(no name)", links.zoom(tree.key(node)))


def _search(samples: Samples, tree: Tree, node: int, what: Wanted, asked: AskedFlame, links: Links) -> Search:
    nodes, has_more = found_nodes(tree, found_labels(tree, what), tree.total)
    count = found_count(samples, what, asked.shape)
    here, before, after = neighbours(nodes, node)

    def link(other: int | None) -> str | None:
        return None if other is None else links.zoom(tree.key(other))

    return Search(amount(count, samples.unit), part(count, tree.total[0]), len(nodes), has_more, here, link(before), link(after))
