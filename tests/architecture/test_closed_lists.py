"""Probes, operations and loops: each names a function that exists and takes what it is given."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import pytest

from clusterstate.loops import LOOPS
from clusterstate.operations import OPERATIONS
from clusterstate.probes import PROBES

KINDS: tuple[type[Any], ...] = (*LOOPS, *PROBES, *OPERATIONS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_asked_is_answered_by_a_function_that_takes_its_fields(kind: type[Any]) -> None:
    module, _, name = kind.answered_by.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    names = {field.name for field in dataclasses.fields(kind)}
    takes_fields = names <= set(inspect.signature(function).parameters)
    takes_the_whole = bool(needed) and _is_named(needed[0].annotation, kind)
    assert takes_fields or takes_the_whole


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_asked_is_frozen_explained_and_limited(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__ + "("), "a sentence, not the signature that dataclass writes"
    assert kind.time_limit_s != 0


def test_no_two_kinds_are_answered_by_the_same_function() -> None:
    assert len({kind.answered_by for kind in KINDS}) == len(KINDS)


def _is_named(annotation: object, kind: type[Any]) -> bool:
    return annotation is kind or str(annotation).rpartition(".")[2] == kind.__name__
