"""A profile without Ray's own functions."""

from __future__ import annotations

from clusterstate.stacks import Frame, Merging, Thread
from tests.webapp.flame.profiles import random_profile
from webapp.flame.narrowing import without_ray
from webapp.flame.tree import Shape, grow

LOOP = Frame("main_loop", "ray/_private/worker.py")
SPAN = Frame("_resume_span", "ray/util/tracing/tracing_helper.py")
OWN = Frame("fit", "/home/ada/train.py")


def test_rays_functions_go_and_every_count_stays() -> None:
    merging = Merging()
    merging.add(Thread(1, 1), [LOOP, SPAN, OWN], 5)
    merging.add(Thread(1, 1), [LOOP], 2)
    tree = grow(without_ray(merging.samples()), Shape())

    shown = {tree.labels[tree.label[node]].name: tree.total[node] for node in range(len(tree))}
    assert shown == {"all": 7, "fit": 5, "main_loop": 2}


def test_a_profile_without_ray_is_as_it_was() -> None:
    samples = random_profile(3)
    kept = without_ray(samples)

    assert kept.total == samples.total
