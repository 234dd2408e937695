"""A stand-in for Ray's GCS and raylets: Ray's protocol through Ray's own messages, at any scale, with any text and with faults."""

from __future__ import annotations

from tests.simulated_ray.remote import RemoteRay
from tests.simulated_ray.server import SimulatedRay

__all__ = ["RemoteRay", "SimulatedRay"]
