"""What the cluster itself says before and after an operation: which session it is, where its agent listens, what it knows of a job."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clusterstate.job_request import OPERATION_ID
from workers.operations.running import CannotLook, NotYet, Refusal
from workers.sources.auth import ray_token
from workers.sources.gcs import GcsClient, GcsError, GcsRefused, own_credentials
from workers.sources.gcs_decode import node_of
from workers.sources.gcs_decode_jobs import SUBMISSION_KEY_PREFIX, TERMINAL
from workers.sources.gcs_fields import parsed_json

AGENT_KEY_PREFIX = "DASHBOARD_AGENT_ADDR_NODE_ID_PREFIX:"
"""KV namespace `dashboard`: [ip, HTTP port, gRPC port] of a node's agent; -1 where it serves no HTTP (a minimal install)."""


@dataclass(frozen=True)
class JobRecord:
    """The record of a submission in the GCS's KV, as far as operations ask for it."""

    status: str
    operation_id: str | None

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True)
class RaySide:
    """One look at a cluster."""

    session: str
    ray_version: str | None
    agent: tuple[str, int] | None  # address and HTTP port of the head node's agent; None: it serves none
    record: JobRecord | None  # of the submission that was asked for


def look(address: str, submission_id: str, environ: Mapping[str, str]) -> RaySide:
    """A few calls of the GCS. Raises NotYet when it does not answer, CannotLook when it refuses us."""
    try:
        return asyncio.run(_look(address, submission_id, environ))
    except GcsRefused as problem:
        raise CannotLook(str(problem)) from None
    except GcsError as problem:
        raise NotYet(str(problem)) from None


async def _look(address: str, submission_id: str, environ: Mapping[str, str]) -> RaySide:
    client = GcsClient(address, own_credentials(ray_token(environ), environ))
    try:
        alive = await client.check_alive()
        session = await client.kv_get("session", "session_name")
        if not session:
            raise GcsError(f"The GCS at {address} has no session yet: the cluster is starting.")
        return RaySide(
            session=session.decode("utf-8", "backslashreplace"),
            ray_version=alive.ray_version or None,
            agent=await _agent(client),
            record=record_of(await client.kv_get("job", SUBMISSION_KEY_PREFIX + submission_id)),
        )
    finally:
        await client.close()


async def _agent(client: GcsClient) -> tuple[str, int] | None:
    """Where the agent of the live head node serves HTTP."""
    nodes = [node_of(message) for message in await client.all_nodes()]
    head = next((node for node in nodes if node.is_head_node and node.state == "ALIVE"), None)
    if head is None or head.node_ip is None:
        return None
    value = await client.kv_get("dashboard", AGENT_KEY_PREFIX + head.node_id)
    return agent_of(value, head.node_ip) if value is not None else None


def agent_of(value: bytes, node_ip: str) -> tuple[str, int] | None:
    """The agent's address in its KV entry, if it is the node's own: work and token are sent nowhere else.

    None where it serves no HTTP. Raises Refusal for an address that cannot be one of a node.
    """
    entry = parsed_json(value)
    if not isinstance(entry, list) or len(entry) < 2 or type(entry[1]) is not int or not 0 < entry[1] < 65536:
        return None
    if entry[0] != node_ip or not is_node_address(node_ip):
        raise Refusal("The head node's agent gives an address that is not the node's own; nothing is sent there.")
    return node_ip, entry[1]


def is_node_address(text: str) -> bool:
    """An IP address that a node can have; none of those that lead to a machine's own services or to everybody."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved)


def record_of(value: bytes | None) -> JobRecord | None:
    """The job's record; None where there is none. One that cannot be read is there all the same."""
    if value is None:
        return None
    fields: Any = parsed_json(value)
    fields = fields if isinstance(fields, dict) else {}
    metadata = fields.get("metadata")
    operation_id = metadata.get(OPERATION_ID) if isinstance(metadata, dict) else None
    return JobRecord(str(fields.get("status")), operation_id if isinstance(operation_id, str) else None)
