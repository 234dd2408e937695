"""Ray's generated messages and service descriptors, reached by name so that the same code serves several Ray releases.

The modules are imported as Ray ships them; they are typed Any because they build their classes at import.
"""

from __future__ import annotations

import importlib.metadata
from importlib import import_module
from typing import Any

from google.protobuf import message_factory

GENERATED = "ray.core.generated."
gcs: Any = import_module(GENERATED + "gcs_pb2")
gcs_service: Any = import_module(GENERATED + "gcs_service_pb2")
common: Any = import_module(GENERATED + "common_pb2")
pubsub: Any = import_module(GENERATED + "pubsub_pb2")
autoscaler: Any = import_module(GENERATED + "autoscaler_pb2")
node_manager: Any = import_module(GENERATED + "node_manager_pb2")

GCS_MODULES = (gcs_service, autoscaler)


def gcs_services() -> dict[str, Any]:
    """Descriptors of every service that the installed Ray's GCS has, by short name."""
    return {name: service for module in GCS_MODULES for name, service in module.DESCRIPTOR.services_by_name.items()}


def raylet_service() -> Any:
    """Descriptor of the raylet's own service."""
    return node_manager.DESCRIPTOR.services_by_name["NodeManagerService"]


def message_class(descriptor: Any) -> Any:
    """The Python class of a message descriptor."""
    return message_factory.GetMessageClass(descriptor)


def field_number(message: Any, name: str) -> int:
    """The number of a field in the installed release."""
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return number


def channel(name: str) -> int:
    """The number of a pubsub channel in the installed release (Ray renumbered them between 2.53 and 2.60)."""
    number: int = pubsub.ChannelType.Value(name)
    return number


def installed_version() -> str:
    """The version of the installed Ray."""
    return importlib.metadata.version("ray")
