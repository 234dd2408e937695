"""Where the bundles of a placement group are: a row for each node that holds some, those without a node apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clusterstate.model import Bundle, Node
from webapp.formatting import labels, resources


@dataclass(frozen=True)
class Block:
    """One bundle as it is drawn."""

    index: int
    reserves: str
    selector: str  # labels of the node that it asks for


@dataclass(frozen=True)
class NodeRow:
    """A node and the bundles on it."""

    node_id: str
    node: Node | None  # None: it is not remembered
    blocks: list[Block]
    together: dict[str, float]  # what they reserve of it

    @property
    def name(self) -> str:
        """Its host, as far as that is known."""
        return (self.node.hostname or self.node.node_ip if self.node is not None else None) or self.node_id


@dataclass(frozen=True)
class BundleMap:
    """All bundles of a group."""

    rows: list[NodeRow]
    unplaced: list[Block]
    alike: str | None  # what each bundle reserves, when all reserve the same

    @property
    def count(self) -> int:
        return len(self.unplaced) + sum(len(row.blocks) for row in self.rows)


def bundle_map(bundles: Sequence[Bundle], nodes: Mapping[str, Node]) -> BundleMap:
    """Nodes with most bundles first, bundles in the order of their index."""
    on: dict[str, list[Bundle]] = {}
    unplaced: list[Bundle] = []
    for bundle in sorted(bundles, key=lambda one: one.bundle_index):
        (unplaced if bundle.node_id is None else on.setdefault(bundle.node_id, [])).append(bundle)
    rows = [NodeRow(node_id, nodes.get(node_id), _blocks(some), _together(some)) for node_id, some in on.items()]
    shapes = {(resources(one.unit_resources), labels(one.label_selector)) for one in bundles}
    alike = resources(bundles[0].unit_resources) if len(shapes) == 1 and len(bundles) > 1 else None
    return BundleMap(sorted(rows, key=lambda row: (-len(row.blocks), row.name)), _blocks(unplaced), alike)


def _blocks(bundles: Iterable[Bundle]) -> list[Block]:
    return [Block(one.bundle_index, resources(one.unit_resources), labels(one.label_selector or None)) for one in bundles]


def _together(bundles: Iterable[Bundle]) -> dict[str, float]:
    amounts: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.unit_resources.items():
            amounts[name] = round(amounts.get(name, 0.0) + amount, 4)
    return amounts
