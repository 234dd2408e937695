"""What is asked for and not yet given, from `GetClusterStatusReply`: equal shapes are one demand, in an order that does not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from clusterstate.model import BundleShape, ResourceDemand
from workers.sources.gcs_fields import MAX_ENTRIES, clipped, enum_name, plain_resources, resources, texts

MAX_DEMANDS = 1000
KINDS = ("TASK_ACTOR", "PLACEMENT_GROUP", "REQUEST_RESOURCES")
"""In the order in which `ray status` could name them."""


def demands_of(reply: Any) -> list[ResourceDemand]:
    """Everything that waits. What the autoscaler calls infeasible is marked, or added when nothing that waits has its shape."""
    state, autoscaling = reply.cluster_resource_state, reply.autoscaling_state
    pending = merged(
        [
            *(_of_tasks(one.request, one.count) for one in list(state.pending_resource_requests)[:MAX_DEMANDS]),
            *(_of_group(gang) for gang in list(state.pending_gang_resource_requests)[:MAX_DEMANDS]),
            *_constraints(state.cluster_resource_constraints),
        ]
    )
    infeasible = merged(
        [
            *(_of_tasks(request, 1) for request in list(autoscaling.infeasible_resource_requests)[:MAX_DEMANDS]),
            *(_of_group(gang) for gang in list(autoscaling.infeasible_gang_resource_requests)[:MAX_DEMANDS]),
            *_constraints(autoscaling.infeasible_cluster_resource_constraints),
        ]
    )
    never = {one.key for one in infeasible}
    known = {one.key for one in pending}
    marked = [replace(one, is_infeasible=True) if one.key in never else one for one in pending]
    return ordered([*marked, *(replace(one, is_infeasible=True) for one in infeasible if one.key not in known)])


def merged(demands: Iterable[ResourceDemand | None]) -> list[ResourceDemand]:
    """Equal shapes counted together."""
    found: dict[str, ResourceDemand] = {}
    for one in demands:
        if one is None:
            continue
        known = found.setdefault(one.key, one)
        if known is not one:
            count, inside = known.count + one.count, known.in_placement_groups + one.in_placement_groups
            found[one.key] = replace(known, count=count, in_placement_groups=inside)
    return list(found.values())


def ordered(demands: Iterable[ResourceDemand]) -> list[ResourceDemand]:
    """By kind, the most frequent first: the GCS names them in the order of a hash table."""
    return sorted(demands, key=lambda one: (KINDS.index(one.kind), -one.count, one.key))[:MAX_DEMANDS]


def requested(shape: dict[str, float], count: int, label_selector: dict[str, str] | None = None) -> ResourceDemand:
    """What somebody asked the autoscaler for with request_resources()."""
    return ResourceDemand("REQUEST_RESOURCES", resources(shape), count, label_selector=label_selector or {})


def _of_tasks(request: Any, count: int) -> ResourceDemand | None:
    """Tasks and actors of one shape. None for those that ask for nothing but a bundle's own marker, as `PlacementGroup.ready()` does."""
    asked, shape = resources(request.resources_bundle), plain_resources(request.resources_bundle)
    if asked and not shape:
        return None
    inside = int(count) if any("_group_" in name for name in asked) else 0
    return ResourceDemand("TASK_ACTOR", shape, int(count), label_selector=_label_selector(request), in_placement_groups=inside)


def _of_group(gang: Any) -> ResourceDemand:
    """A placement group. `details` is "<id>:<strategy>|<state>" in Ray 2.53 to 2.60."""
    requests = list(gang.requests) or [one for selector in gang.bundle_selectors[:1] for one in selector.resource_requests]
    alike: dict[bytes, Any] = {}
    counts: Counter[bytes] = Counter()
    for request in requests[:MAX_ENTRIES]:
        same = request.SerializeToString(deterministic=True)  # most groups have a thousand equal bundles rather than two different ones
        counts[same] += 1
        alike.setdefault(same, request)
    bundles = [BundleShape(resources(one.resources_bundle), counts[same], _label_selector(one)) for same, one in alike.items()]
    together: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.shape.items():
            together[name] = round(together.get(name, 0.0) + amount * bundle.count, 4)
    strategy = clipped(gang.details.partition(":")[2].partition("|")[0].strip()) or None
    shown = sorted(bundles, key=lambda one: (-one.count, repr(one.shape)))[:MAX_DEMANDS]
    return ResourceDemand("PLACEMENT_GROUP", resources(together), 1, strategy, bundles=shown)


def _constraints(constraints: Any) -> Iterable[ResourceDemand]:
    for constraint in list(constraints)[:MAX_DEMANDS]:
        for one in list(constraint.resource_requests)[:MAX_DEMANDS]:
            yield requested(one.request.resources_bundle, int(one.count), _label_selector(one.request))


def _label_selector(request: Any) -> dict[str, str]:
    """The first selector in words such as {"region": "in(us-east, us-west)"}."""
    for selector in list(getattr(request, "label_selectors", ()))[:1]:
        words = {}
        for constraint in list(selector.label_constraints)[:MAX_ENTRIES]:
            operator = "!in" if enum_name(constraint, "operator") == "LABEL_OPERATOR_NOT_IN" else "in"
            words[constraint.label_key] = f"{operator}({', '.join(constraint.label_values)})"
        return texts(words)
    return {}
