"""How each driver of the demo joins the cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import ray
from ray.job_config import JobConfig

from workers.processes import die_with_parent

NAMESPACE = "demo"


@contextlib.contextmanager
def joined(name: str, **metadata: str) -> Iterator[None]:
    """A driver of the keeper's, called `name`, at the address that the environment names. Dies with the keeper."""
    die_with_parent(os.getppid())
    config = JobConfig(metadata={"job_name": name, **metadata}, ray_namespace=NAMESPACE)
    ray.init(address="auto", namespace=NAMESPACE, job_config=config, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def joined_as_submitted() -> Iterator[None]:
    """The driver of a submitted job: its name and environment come from the submission."""
    ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()
