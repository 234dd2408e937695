"""What the simulated GCS answers, method by method: a request and the cluster in, the reply's bytes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tests.simulated_ray import actors, jobs, stubs
from tests.simulated_ray.placement_groups import PlacementGroups
from tests.simulated_ray.tasks import Tasks
from tests.simulated_ray.wire import field, number_field

Handler = Callable[[Tasks, Any], bytes]
HANDLERS: dict[tuple[str, str], Handler] = {}
STATUS_NUMBER = 1  # every GCS reply has `GcsStatus status = 1`
OK = field(STATUS_NUMBER, b"")
NOT_FOUND = 17  # ray::StatusCode::NotFound


def answers(service: str, method: str) -> Callable[[Handler], Handler]:
    """Register a handler for one method of one service."""

    def register(handler: Handler) -> Handler:
        HANDLERS[service, method] = handler
        return handler

    return register


def not_found(message: str) -> bytes:
    """A reply that says, with an OK gRPC status as Ray does, that there is no such thing."""
    status = stubs.message_class(stubs.gcs_service.GetActorInfoReply.DESCRIPTOR.fields_by_name["status"].message_type)
    return field(STATUS_NUMBER, status(code=NOT_FOUND, message=message).SerializeToString())


def counts(reply: Any, **values: int) -> bytes:
    """`total` and the like, by their numbers in the installed release; those it lacks are left out."""
    there = reply.DESCRIPTOR.fields_by_name
    return b"".join(number_field(there[name].number, value) for name, value in values.items() if name in there)


def limit_of(request: Any) -> int | None:
    return request.limit if request.HasField("limit") else None


def narrowed(ids: Iterable[bytes], keep: Callable[[bytes], bool], limit: int | None) -> tuple[list[bytes], int]:
    """The first `limit` ids to keep, and how many were passed over before the last of them (Ray counts no further)."""
    kept: list[bytes] = []
    passed = 0
    for row_id in ids:
        if limit is not None and len(kept) >= limit:
            break
        if keep(row_id):
            kept.append(row_id)
        else:
            passed += 1
    return kept, passed


# --- Nodes


@answers("NodeInfoGcsService", "GetClusterId")
def get_cluster_id(cluster: PlacementGroups, request: Any) -> bytes:
    return OK + field(stubs.field_number(stubs.gcs_service.GetClusterIdReply, "cluster_id"), cluster.cluster_id)


@answers("NodeInfoGcsService", "CheckAlive")
def check_alive(cluster: PlacementGroups, request: Any) -> bytes:
    reply = stubs.gcs_service.CheckAliveReply(status={}, ray_version=cluster.ray_version)
    reply.raylet_alive.extend(node_id in cluster.nodes and cluster.nodes.state(node_id) == 0 for node_id in request.node_ids)
    if "is_leader" in reply.DESCRIPTOR.fields_by_name:
        reply.is_leader = True
    return bytes(reply.SerializeToString())


@answers("NodeInfoGcsService", "GetAllNodeInfo")
def get_all_node_info(cluster: PlacementGroups, request: Any) -> bytes:
    table = cluster.nodes
    ids: Iterable[bytes] = table.in_state(request.state_filter) if request.HasField("state_filter") else table
    if request.node_selectors:
        ids = [node_id for node_id in ids if any(_selects(selector, table.get(node_id)) for selector in request.node_selectors)]
    rows, shown = table.join(ids, limit_of(request))
    return OK + rows + counts(stubs.gcs_service.GetAllNodeInfoReply, total=len(table), num_filtered=len(table) - shown)


def _selects(selector: Any, node: Any) -> bool:
    kind = selector.WhichOneof(selector.DESCRIPTOR.oneofs[0].name)
    name = {"node_ip_address": "node_manager_address"}.get(kind, kind)
    return bool(getattr(selector, kind) == getattr(node, name))


@answers("NodeInfoGcsService", "GetAllNodeAddressAndLiveness")
def get_all_node_address_and_liveness(cluster: PlacementGroups, request: Any) -> bytes:
    table = cluster.nodes
    ids: Iterable[bytes] = table.in_state(request.state_filter) if request.HasField("state_filter") else table
    wanted = set(request.node_ids)
    reply = stubs.gcs_service.GetAllNodeAddressAndLivenessReply(status={})
    for node_id in [i for i in ids if not wanted or i in wanted][: limit_of(request)]:
        node = table.get(node_id)
        row = reply.node_info_list.add(node_id=node_id, node_manager_address=node.node_manager_address, state=node.state)
        row.node_manager_port, row.object_manager_port = node.node_manager_port, node.object_manager_port
        row.death_info.CopyFrom(node.death_info)
    return bytes(reply.SerializeToString())


# --- Actors


@answers("ActorInfoGcsService", "GetAllActorInfo")
def get_all_actor_info(cluster: PlacementGroups, request: Any) -> bytes:
    table, filters, limit = cluster.actors, request.filters, limit_of(request)
    ids: Iterable[bytes] = table
    passed = 0
    if request.HasField("filters"):
        if filters.HasField("actor_id"):
            ids = [filters.actor_id] if filters.actor_id in table else []
        if filters.HasField("state"):
            state = filters.state
            ids = table.in_state(state) if ids is table else [i for i in ids if table.state(i) == state]
            passed = len(table) - table.count(state)
        if filters.HasField("job_id"):
            ids, passed = narrowed(ids, lambda actor_id: actor_id.endswith(filters.job_id), limit)
    answered = _as_stored(cluster, request, ids, limit) if request.show_dead_jobs else table.join(ids, limit)[0]
    return OK + answered + counts(stubs.gcs_service.GetAllActorInfoReply, total=len(table), num_filtered=passed)


def _as_stored(cluster: PlacementGroups, request: Any, ids: Iterable[bytes], limit: int | None) -> bytes:
    """Rows as they are in the GCS's table, where an actor is never PENDING_CREATION (recorded from Ray 2.60)."""
    table, pending, unready = cluster.actors, actors.STATES["PENDING_CREATION"], actors.STATES["DEPENDENCIES_UNREADY"]
    if request.filters.HasField("state") and request.filters.state == unready:
        ids = [*ids, *table.in_state(pending)]
    elif request.filters.HasField("state") and request.filters.state == pending:
        ids = []
    chosen = list(ids)[:limit]
    waiting = [actor_id for actor_id in chosen if table.state(actor_id) == pending]
    rows, _ = table.join([actor_id for actor_id in chosen if table.state(actor_id) != pending] if waiting else chosen)
    for actor_id in waiting:
        row = table.get(actor_id)
        row.state = unready
        rows += field(stubs.field_number(stubs.gcs_service.GetAllActorInfoReply, "actor_table_data"), row.SerializeToString())
    return rows


@answers("ActorInfoGcsService", "GetActorInfo")
def get_actor_info(cluster: PlacementGroups, request: Any) -> bytes:
    return OK + _one(stubs.gcs_service.GetActorInfoReply, "actor_table_data", cluster.actors.payload(request.actor_id))


@answers("ActorInfoGcsService", "GetNamedActorInfo")
def get_named_actor_info(cluster: PlacementGroups, request: Any) -> bytes:
    for row in _named_actors(cluster):
        if row.name == request.name and row.ray_namespace == request.ray_namespace:
            return OK + _one(stubs.gcs_service.GetNamedActorInfoReply, "actor_table_data", cluster.actors.payload(row.actor_id))
    return not_found(f"Actor with name '{request.name}' was not found.")


@answers("ActorInfoGcsService", "ListNamedActors")
def list_named_actors(cluster: PlacementGroups, request: Any) -> bytes:
    reply = stubs.gcs_service.ListNamedActorsReply(status={})
    for row in _named_actors(cluster):
        if request.all_namespaces or row.ray_namespace == request.ray_namespace:
            reply.named_actors_list.add(ray_namespace=row.ray_namespace, name=row.name)
    return bytes(reply.SerializeToString())


def _named_actors(cluster: PlacementGroups) -> Iterable[Any]:
    living = [i for state, number in actors.STATES.items() if state != "DEAD" for i in cluster.actors.in_state(number)]
    return (row for row in map(cluster.actors.get, living) if row.name)


def _one(reply: Any, name: str, payload: bytes | None) -> bytes:
    return b"" if payload is None else field(stubs.field_number(reply, name), payload)


# --- Jobs


@answers("JobInfoGcsService", "GetAllJobInfo")
def get_all_job_info(cluster: PlacementGroups, request: Any) -> bytes:
    wanted = request.job_or_submission_id if request.HasField("job_or_submission_id") else None
    if request.skip_submission_job_info_field and wanted is None:
        return OK + cluster.jobs.join(None, limit_of(request))[0]
    reply = stubs.gcs_service.GetAllJobInfoReply(status={})
    for row in map(cluster.jobs.get, list(cluster.jobs)):
        submission_id = row.config.metadata.get("job_submission_id")
        if wanted is not None and wanted not in (row.job_id.hex(), submission_id):
            continue
        if submission_id and not request.skip_submission_job_info_field:
            _join_submission(cluster, row, submission_id)
        if not request.skip_is_running_tasks_field:
            row.is_running_tasks = not row.is_dead
        reply.job_info_list.append(row)
    del reply.job_info_list[limit_of(request) or len(reply.job_info_list) :]
    return bytes(reply.SerializeToString())


def _join_submission(cluster: PlacementGroups, row: Any, submission_id: str) -> None:
    """The submission's record as `job_info`; null values are left unset."""
    key = (jobs.SUBMISSION_KEY + submission_id).encode()
    if key not in cluster.kv.get(b"job", {}):
        return
    values = {name: value for name, value in cluster.submission(submission_id).items() if value is not None}
    for name in ("metadata", "entrypoint_resources"):
        getattr(row.job_info, name).update(values.pop(name, {}))
    row.job_info.MergeFrom(stubs.gcs.JobsAPIInfo(**values))


# --- Workers and placement groups


@answers("WorkerInfoGcsService", "GetAllWorkerInfo")
def get_all_worker_info(cluster: PlacementGroups, request: Any) -> bytes:
    table, limit = cluster.workers, limit_of(request)
    ids: Iterable[bytes] = table
    passed = 0
    if request.HasField("filters") and request.filters.HasField("is_alive"):
        ids, passed = narrowed(ids, lambda worker_id: table.state(worker_id) == int(request.filters.is_alive), limit)
    if request.HasField("filters") and request.filters.exist_paused_threads:
        ids, passed = narrowed(ids, lambda worker_id: bool(table.get(worker_id).num_paused_threads), limit)
    rows, _ = table.join(ids, limit)
    return OK + rows + counts(stubs.gcs_service.GetAllWorkerInfoReply, total=len(table), num_filtered=passed)


@answers("WorkerInfoGcsService", "GetWorkerInfo")
def get_worker_info(cluster: PlacementGroups, request: Any) -> bytes:
    return OK + _one(stubs.gcs_service.GetWorkerInfoReply, "worker_table_data", cluster.workers.payload(request.worker_id))


@answers("PlacementGroupInfoGcsService", "GetAllPlacementGroup")
def get_all_placement_group(cluster: PlacementGroups, request: Any) -> bytes:
    rows, _ = cluster.placement_groups.join(None, limit_of(request))
    return OK + rows + counts(stubs.gcs_service.GetAllPlacementGroupReply, total=len(cluster.placement_groups))


@answers("PlacementGroupInfoGcsService", "GetPlacementGroup")
def get_placement_group(cluster: PlacementGroups, request: Any) -> bytes:
    payload = cluster.placement_groups.payload(request.placement_group_id)
    return OK + _one(stubs.gcs_service.GetPlacementGroupReply, "placement_group_table_data", payload)


# --- Key-value store


@answers("InternalKVGcsService", "InternalKVGet")
def internal_kv_get(cluster: PlacementGroups, request: Any) -> bytes:
    value = cluster.kv.get(request.namespace, {}).get(request.key)
    if value is None:
        return not_found("Failed to find the key")
    return OK + field(stubs.field_number(stubs.gcs_service.InternalKVGetReply, "value"), value)


@answers("InternalKVGcsService", "InternalKVMultiGet")
def internal_kv_multi_get(cluster: PlacementGroups, request: Any) -> bytes:
    values = cluster.kv.get(request.namespace, {})
    reply = stubs.gcs_service.InternalKVMultiGetReply(status={})
    for key in request.keys:
        if key in values:
            reply.results.add(key=key, value=values[key])
    return bytes(reply.SerializeToString())


@answers("InternalKVGcsService", "InternalKVKeys")
def internal_kv_keys(cluster: PlacementGroups, request: Any) -> bytes:
    number = stubs.field_number(stubs.gcs_service.InternalKVKeysReply, "results")
    keys = cluster.kv.get(request.namespace, {})
    return OK + b"".join(field(number, key) for key in keys if key.startswith(request.prefix))


@answers("InternalKVGcsService", "InternalKVExists")
def internal_kv_exists(cluster: PlacementGroups, request: Any) -> bytes:
    exists = request.key in cluster.kv.get(request.namespace, {})
    return bytes(stubs.gcs_service.InternalKVExistsReply(status={}, exists=exists).SerializeToString())


@answers("InternalKVGcsService", "InternalKVPut")
def internal_kv_put(cluster: PlacementGroups, request: Any) -> bytes:
    values = cluster.kv.setdefault(request.namespace, {})
    added = request.key not in values
    if added or request.overwrite:
        values[request.key] = request.value
    return bytes(stubs.gcs_service.InternalKVPutReply(status={}, added=added).SerializeToString())


@answers("InternalKVGcsService", "InternalKVDel")
def internal_kv_del(cluster: PlacementGroups, request: Any) -> bytes:
    values = cluster.kv.get(request.namespace, {})
    doomed = [key for key in values if key == request.key or (request.del_by_prefix and key.startswith(request.key))]
    for key in doomed:
        del values[key]
    return bytes(stubs.gcs_service.InternalKVDelReply(status={}, deleted_num=len(doomed)).SerializeToString())


@answers("InternalKVGcsService", "GetInternalConfig")
def get_internal_config(cluster: PlacementGroups, request: Any) -> bytes:
    config = '{"automatic_object_spilling_enabled": true}'
    return bytes(stubs.gcs_service.GetInternalConfigReply(status={}, config=config).SerializeToString())


# --- Resources


@answers("AutoscalerStateService", "GetClusterStatus")
def get_cluster_status(cluster: PlacementGroups, request: Any) -> bytes:
    reply = stubs.autoscaler.GetClusterStatusReply
    state = cluster.autoscaling_state.SerializeToString()
    body = field(stubs.field_number(reply, "autoscaling_state"), state) if state else b""
    return body + field(stubs.field_number(reply, "cluster_resource_state"), _cluster_resource_state(cluster))


@answers("AutoscalerStateService", "GetClusterResourceState")
def get_cluster_resource_state(cluster: PlacementGroups, request: Any) -> bytes:
    number = stubs.field_number(stubs.autoscaler.GetClusterResourceStateReply, "cluster_resource_state")
    return field(number, _cluster_resource_state(cluster))


def _cluster_resource_state(cluster: PlacementGroups) -> bytes:
    """The nodes, and what waits: shapes of pending actors, bundles of pending placement groups."""
    rest = stubs.autoscaler.ClusterResourceState(cluster_session_name=cluster.session_name)
    waiting = map(cluster.actors.get, cluster.actors.in_state(actors.STATES["PENDING_CREATION"]))
    shapes = Counter(frozenset(row.required_resources.items()) for row in waiting)
    for shape, count in shapes.items():
        rest.pending_resource_requests.add(count=count).request.resources_bundle.update(dict(shape))
    for group in map(cluster.placement_groups.get, cluster.placement_groups.in_state(0)):
        request = rest.pending_gang_resource_requests.add(details=f"{group.placement_group_id.hex()}:{_strategy(group)}|PENDING")
        for bundle in group.bundles:
            request.requests.add().resources_bundle.update(bundle.unit_resources)
    return cluster.node_states.join()[0] + bytes(rest.SerializeToString())


def _strategy(group: Any) -> str:
    name: str = stubs.common.PlacementStrategy.Name(group.strategy)
    return name


@answers("NodeResourceInfoGcsService", "GetAllAvailableResources")
def get_all_available_resources(cluster: PlacementGroups, request: Any) -> bytes:
    reply = stubs.gcs_service.GetAllAvailableResourcesReply(status={})
    for state in map(cluster.node_states.get, cluster.node_states):
        reply.resources_list.add(node_id=state.node_id).resources_available.update(state.available_resources)
    return bytes(reply.SerializeToString())


@answers("NodeResourceInfoGcsService", "GetAllTotalResources")
def get_all_total_resources(cluster: PlacementGroups, request: Any) -> bytes:
    reply = stubs.gcs_service.GetAllTotalResourcesReply(status={})
    for state in map(cluster.node_states.get, cluster.node_states):
        reply.resources_list.add(node_id=state.node_id).resources_total.update(state.total_resources)
    return bytes(reply.SerializeToString())


@answers("NodeResourceInfoGcsService", "GetAllResourceUsage")
def get_all_resource_usage(cluster: PlacementGroups, request: Any) -> bytes:
    reply = stubs.gcs_service.GetAllResourceUsageReply(status={})
    for state in map(cluster.node_states.get, cluster.node_states):
        row = reply.resource_usage_data.batch.add(node_id=state.node_id, node_manager_address=state.node_ip_address)
        row.resources_available.update(state.available_resources)
        row.resources_total.update(state.total_resources)
    return bytes(reply.SerializeToString())


@answers("NodeResourceInfoGcsService", "GetDrainingNodes")
def get_draining_nodes(cluster: PlacementGroups, request: Any) -> bytes:
    return OK
