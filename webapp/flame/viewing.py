"""A profile as the URL asks for it: the flame graph, the tables, or a sandwich."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate.stacks import Samples
from webapp.flame.asking import FLAME, FUNCTIONS, MODULES, SANDWICH, AskedFlame
from webapp.flame.drawing import Drawing, Pen, place_of
from webapp.flame.labels import FRAME
from webapp.flame.links import Links, To
from webapp.flame.narrowing import narrowed
from webapp.flame.searching import LONGEST
from webapp.flame.showing import FlamePage, flame_page, function_of
from webapp.flame.table import TablePage, table_page
from webapp.flame.tree import Shape, Tree, sandwich, stacks_of
from webapp.flame.units import amount, part
from webapp.formatting import shortened

TABS = ((FLAME, "Flame graph"), (FUNCTIONS, "Functions"), (MODULES, "Modules"))


@dataclass(frozen=True)
class Tab:
    label: str
    href: str
    is_current: bool


@dataclass(frozen=True)
class SandwichPage:
    """All that profiles/_sandwich.html may use."""

    asked: AskedFlame
    links: Links
    name: str  # empty: there is no such function
    place: str
    total: str
    share: str
    callers: Drawing
    callees: Drawing
    search_href: str  # the function in the flame graph


@dataclass(frozen=True)
class Viewer:
    """All that profiles/_viewer.html may use."""

    view: str
    tabs: tuple[Tab, ...]
    page: FlamePage | TablePage | SandwichPage


def view(samples: Samples, asked: AskedFlame, to: To) -> Viewer:
    """What the URL asks for of a profile: a second for a large one. `to` makes links of its page."""
    links = Links(to, asked)
    samples = narrowed(samples, asked)
    tabs = [Tab(label, links.but(view=key, at="", function="", sort=""), asked.view == key) for key, label in TABS]
    if asked.view == SANDWICH:
        tabs.append(Tab("Callers and callees", links.but(), is_current=True))
    if asked.view == FLAME:
        page: FlamePage | TablePage | SandwichPage = flame_page(samples, asked, to)
    else:
        page = sandwich_page(samples, asked, to) if asked.view == SANDWICH else table_page(samples, asked, to)
    return Viewer(asked.view, tuple(tabs), page)


def sandwich_page(samples: Samples, asked: AskedFlame, to: To) -> SandwichPage:
    """Who calls a function, above, and whom it calls, below. A click on a box makes that function the middle."""
    both = sandwich(samples, asked.function, Shape(thread=asked.thread))
    links = Links(to, asked)
    samples = narrowed(samples, asked)
    label = both.callees.labels[both.callees.label[-1 if len(both.callees) == 1 else 1]]
    whole = sum(stack.count for stack in stacks_of(samples, asked.thread))
    total = both.callees.total[0]
    return SandwichPage(
        asked=asked,
        links=links,
        name=(shortened(label.name) or "(no name)") if label.kind == FRAME else "",
        place=place_of(label),
        total=amount(total, samples.unit),
        share=part(total, whole),
        callers=_drawn(both.callers, samples.unit, whole, links, is_flame=True),
        callees=_drawn(both.callees, samples.unit, whole, links),
        search_href=links.search(f"{label.name} {label.file}"[:LONGEST]),
    )


def _drawn(tree: Tree, unit: str, whole: int, links: Links, *, is_flame: bool = False) -> Drawing:
    def link(node: int) -> str:
        return links.sandwich(function_of(tree, node))

    at = min(1, len(tree) - 1)  # the function: all stacks of the tree go through it
    return Pen(tree, unit, at, is_flame, link=link, whole=whole, draws_above=False).draw()
