"""What a cluster's status comes to: how much of each resource is used, and by what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

USUAL = ("CPU", "GPU", "memory", "object_store_memory")


@dataclass(frozen=True)
class ResourceUse:
    """One resource of a node or of the cluster. None: not known."""

    name: str
    total: float  # memory and object_store_memory in bytes
    taken: float | None  # used or reserved: what nobody else can have
    used: float | None  # by what runs: of what placement groups reserve only what is used in them, as `ray status` counts
    reserved: float | None = None  # by placement groups; None: nothing is
    used_of_reserved: float | None = None


def uses(
    total: Mapping[str, float],
    available: Mapping[str, float] | None,
    reserved_total: Mapping[str, float],
    reserved_available: Mapping[str, float],
) -> list[ResourceUse]:
    """Each resource in the order of its name, without the markers of nodes (`node:10.0.0.1`)."""
    return [
        _use(name, total[name], available, reserved_total, reserved_available)
        for name in sorted(total)
        if "node:" not in name and "_group_" not in name
    ]


def in_usual_order(names: Iterable[str]) -> list[str]:
    """Names of resources, those that every node has first."""
    return sorted(names, key=lambda name: (USUAL.index(name) if name in USUAL else len(USUAL), name))


def _use(
    name: str,
    total: float,
    available: Mapping[str, float] | None,
    reserved_total: Mapping[str, float],
    reserved_available: Mapping[str, float],
) -> ResourceUse:
    taken = None if available is None else _rounded(total - available.get(name, 0.0))
    reserved = reserved_total.get(name)
    if reserved is None:
        return ResourceUse(name, total, taken, taken)
    inside = _rounded(reserved - reserved_available.get(name, 0.0))
    return ResourceUse(name, total, taken, None if taken is None else _rounded(taken - reserved + inside), reserved, inside)


def _rounded(amount: float) -> float:
    """Ray counts resources in ten thousandths."""
    return round(amount, 4) + 0.0
