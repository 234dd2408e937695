"""Ray's generated protobuf modules, imported without Ray itself, and what differs in them between Ray releases.

`import ray` costs 38 MB and starts with a native library that a watcher has no use for. The modules below
`ray.core.generated` only need the names `ray`, `ray.core` and `ray.core.generated` to be packages, so empty module
objects stand in for them. A process that did this can never import Ray for real afterwards: whoever needs a Ray driver
is another process. Where Ray is already imported, its own modules are used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

GENERATED = "ray.core.generated"
SERVICE_MODULES = ("gcs_service_pb2", "autoscaler_pb2")


class RayNotInstalled(RuntimeError):
    """The `ray` package is not in this environment, or has no generated protocol modules where they are looked for."""


@dataclass(frozen=True)
class Method:
    """One unary call of the GCS: where it is and what goes in and out."""

    path: str  # /ray.rpc.ActorInfoGcsService/GetAllActorInfo
    request: type[Message]
    reply: type[Message]


@dataclass(frozen=True)
class PubsubLayout:
    """How this Ray release publishes: which service serves a channel, and the channel's number."""

    control_service: str  # full name of the service of actors, jobs, nodes and workers
    observability_service: str  # of errors and logs; before the split (2.53) the same service
    channels: dict[str, int]  # GCS_ACTOR_CHANNEL -> number; numbers were changed between releases

    def path(self, service: str, method: str) -> str:
        return f"/{service}/{method}"


@cache
def module(name: str) -> Any:
    """The generated module of that name, such as `gcs_pb2` or `node_manager_pb2`."""
    _prepare()
    try:
        return importlib.import_module(f"{GENERATED}.{name}")
    except ModuleNotFoundError as problem:
        raise RayNotInstalled(f"The installed ray {installed_version()} has no {GENERATED}.{name}: {problem}.") from None


@cache
def method(name: str) -> Method:
    """The GCS call of that name. Raises KeyError when the installed Ray does not have it."""
    for service in _services():
        found: MethodDescriptor | None = service.methods_by_name.get(name)
        if found is not None and not _is_pubsub(service):
            return _method_of(service, found)
    raise KeyError(f"The installed ray {installed_version()} has no GCS call {name}.")


@cache
def pubsub_method(service: str, name: str) -> Method:
    """A call of one publishing service, which share their method names."""
    for found in _services():
        if found.full_name == service:
            return _method_of(found, found.methods_by_name[name])
    raise KeyError(service)


@cache
def pubsub_layout() -> PubsubLayout | None:
    """How the installed release publishes; None when neither known layout is there.

    2.53 has one service for all channels; 2.60 has one for the control plane and one for errors and logs, and other
    channel and field numbers. Both are read by name from the descriptors, never from a table of numbers.
    """
    names = {service.full_name for service in _services()}
    channels = {value.name: value.number for value in module("pubsub_pb2").DESCRIPTOR.enum_types_by_name["ChannelType"].values}
    if "ray.rpc.ControlPlanePubSubGcsService" in names:
        return PubsubLayout("ray.rpc.ControlPlanePubSubGcsService", "ray.rpc.ObservabilityPubSubService", channels)
    if "ray.rpc.InternalPubSubGcsService" in names:
        return PubsubLayout("ray.rpc.InternalPubSubGcsService", "ray.rpc.InternalPubSubGcsService", channels)
    return None


def row_class(of: Method, list_field: str) -> type[Message]:
    """The message class of the rows in a reply's list."""
    descriptor = of.reply.DESCRIPTOR.fields_by_name[list_field].message_type
    if descriptor is None:
        raise KeyError(list_field)
    return message_factory.GetMessageClass(cast(Descriptor, descriptor))


def parse_or_none(message: type[Message], raw: bytes) -> Any | None:
    """The parsed message; None when the bytes cannot be read, such as a name that is not UTF-8."""
    try:
        return message.FromString(raw)
    except (DecodeError, UnicodeDecodeError):
        return None


@cache
def installed_version() -> str:
    """The version of the installed `ray`, without importing it; "unknown" when nothing says it."""
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        pass
    version_file = _ray_folder() / "_version.py"
    text = version_file.read_text(encoding="utf-8") if version_file.is_file() else ""
    found = re.search(r"^version\s*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def same_release(one: str, other: str) -> bool:
    """Whether two Ray versions speak the same pubsub: same major and minor number."""
    return release(one) is not None and release(one) == release(other)


def release(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _ray_folder() -> Path:
    """Where the `ray` package lies. `find_spec` of a top-level name finds without importing."""
    loaded = sys.modules.get("ray")
    if loaded is not None:
        return Path(next(iter(loaded.__path__)))
    spec = importlib.util.find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise RayNotInstalled("The ray package is not installed in this environment. Install the ray version of the cluster.")
    return Path(next(iter(spec.submodule_search_locations)))


def _prepare() -> None:
    if "ray" in sys.modules:
        return  # imported for real, or prepared before
    folder = _ray_folder()
    for name in ("ray", "ray.core", GENERATED):
        stand_in = ModuleType(name, "Stands in for the package of this name: only Ray's generated modules are used here.")
        stand_in.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = stand_in


@cache
def _services() -> tuple[ServiceDescriptor, ...]:
    found: list[ServiceDescriptor] = []
    for name in SERVICE_MODULES:
        found.extend(module(name).DESCRIPTOR.services_by_name.values())
    return tuple(found)


def _is_pubsub(service: ServiceDescriptor) -> bool:
    return "GcsSubscriberPoll" in service.methods_by_name


def _method_of(service: ServiceDescriptor, found: MethodDescriptor) -> Method:
    request, reply = message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)
    return Method(f"/{service.full_name}/{found.name}", request, reply)
