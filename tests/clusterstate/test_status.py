"""How much of each resource is used, and by what."""

from __future__ import annotations

from clusterstate.status import ResourceUse, in_usual_order, uses


def test_what_a_placement_group_reserves_and_does_not_use_is_taken_but_not_used() -> None:
    [cpu, gpu] = uses({"GPU": 2.0, "CPU": 4.0, "node:10.0.0.1": 1.0}, {"CPU": 2.75, "GPU": 2.0}, {"CPU": 0.75}, {"CPU": 0.5})

    assert cpu == ResourceUse("CPU", 4.0, 1.25, 0.75, 0.75, 0.25)
    assert gpu == ResourceUse("GPU", 2.0, 0.0, 0.0)


def test_what_is_not_known_is_not_nothing() -> None:
    [cpu] = uses({"CPU": 4.0}, None, {"CPU": 1.0}, {})

    assert (cpu.taken, cpu.used, cpu.used_of_reserved) == (None, None, 1.0)


def test_amounts_are_as_exact_as_rays() -> None:
    [cpu] = uses({"CPU": 1.0}, {"CPU": 1.0 - 0.1 - 0.2}, {}, {})

    assert cpu.used == 0.3


def test_resources_that_every_node_has_come_first() -> None:
    assert in_usual_order({"odd", "memory", "CPU", "GPU", "a"}) == ["CPU", "GPU", "memory", "a", "odd"]
