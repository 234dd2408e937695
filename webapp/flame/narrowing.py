"""A profile without what Ray itself calls on the way to a program's code. Pure."""

from __future__ import annotations

import msgspec

from clusterstate.stacks import Samples, Stack
from webapp.flame.asking import AskedFlame
from webapp.flame.labels import RAY, origin_of


def narrowed(samples: Samples, asked: AskedFlame) -> Samples:
    """What the URL asks for of it."""
    return without_ray(samples) if asked.own else samples


def without_ray(samples: Samples) -> Samples:
    """Every count stays: a stack that is Ray's alone keeps its innermost frame."""
    of_ray = frozenset(place for place, frame in enumerate(samples.frames) if origin_of(frame.file) == RAY)
    if not of_ray:
        return samples
    return msgspec.structs.replace(samples, stacks=tuple(_without(stack, of_ray) for stack in samples.stacks))


def _without(stack: Stack, left_out: frozenset[int]) -> Stack:
    if left_out.isdisjoint(stack.frames):
        return stack
    kept = tuple(place for place in stack.frames if place not in left_out) or stack.frames[-1:]
    return Stack(stack.thread, kept, stack.count)
