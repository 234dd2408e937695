"""The GCS's drivers and the submission records in its KV as our jobs, and the joining of the two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterstate.masking import mask_mapping, mask_runtime_env, mask_text
from clusterstate.model import Job, Worker
from workers.sources.gcs_fields import MAX_INT, clipped, hex_id, number, parsed_json, text, texts

SUBMISSION_KEY_PREFIX = "_ray_internal_job_info_"
INTERNAL_NAMESPACE_PREFIX = "_ray_internal"
SUBMISSION_ID_KEY = "job_submission_id"  # in a driver's metadata: which submission started it
JOB_NAME_KEY = "job_name"
TERMINAL = frozenset({"SUCCEEDED", "STOPPED", "FAILED"})
GOOD_ENDS = frozenset({"INTENDED_USER_EXIT", "INTENDED_SYSTEM_EXIT"})
STATUSES = TERMINAL | {"PENDING", "RUNNING"}


def driver_job_of(message: Any) -> Job:
    """A row of the GCS's job table as a job of its own, keyed by its job id. `submission_id` says what it belongs to.

    As in Ray, a driver that ended is SUCCEEDED: the job table does not know how it ended. See `driver_evidence`.
    """
    job_id = hex_id(message, "job_id") or ""
    metadata = texts(message.config.metadata)
    namespace = text(message.config, "ray_namespace")
    entrypoint = text(message, "entrypoint")
    return Job(
        job_key=job_id,
        type="DRIVER",
        status="SUCCEEDED" if message.is_dead else "RUNNING",
        job_id=job_id,
        submission_id=metadata.get(SUBMISSION_ID_KEY) or None,
        name=metadata.get(JOB_NAME_KEY) or None,
        entrypoint=mask_text(entrypoint) if entrypoint else None,
        start_time_ms=number(message, "start_time"),
        end_time_ms=number(message, "end_time"),
        metadata=mask_mapping(metadata),
        runtime_env=_runtime_env(message.config.runtime_env_info.serialized_runtime_env),
        ray_namespace=namespace,
        driver_ip=text(message.driver_address, "ip_address") or text(message, "driver_ip_address"),
        driver_pid=number(message, "driver_pid"),
        driver_node_id=hex_id(message.driver_address, "node_id"),
        is_internal=(namespace or "").startswith(INTERNAL_NAMESPACE_PREFIX),
    )


def driver_evidence(driver: Worker) -> str | None:
    """What the record of a driver's process says of a bad end; None where it ended as one that succeeded would.

    Seen with Ray 2.53 and 2.60: an uncaught exception leaves its frames, a process that was killed or left by os._exit is a
    SYSTEM_ERROR. sys.exit(3), SIGTERM and what happens after ray.shutdown() look like a good end.
    """
    if driver.uncaught_exception is not None:
        return f"The driver ended with an uncaught exception. Ray keeps where, not what:\n{driver.uncaught_exception}"
    if driver.is_alive or driver.exit_type is None or driver.exit_type in GOOD_ENDS:
        return None
    detail = (driver.exit_detail or "").split(" Some common causes include", 1)[0]
    return f"The driver's process died ({driver.exit_type}). {detail}".rstrip()


def submission_id_of(key: bytes) -> str | None:
    """The submission id in a key of the KV namespace `job`; None for a key of another kind."""
    name = key.decode("utf-8", "backslashreplace")
    return clipped(name[len(SUBMISSION_KEY_PREFIX) :]) if name.startswith(SUBMISSION_KEY_PREFIX) else None


def submission_job_of(submission_id: str, record: bytes) -> Job | None:
    """A submission record (JSON in the KV) as a job without a driver. None when the record cannot be read."""
    fields = parsed_json(record)
    if not isinstance(fields, dict):
        return None
    metadata = _string_map(fields.get("metadata"))
    entrypoint, message = _string(fields, "entrypoint"), _string(fields, "message")
    status = _string(fields, "status") or ""
    return Job(
        job_key=submission_id,
        type="SUBMISSION",
        status=status if status in STATUSES else f"UNKNOWN({status[:40]})",
        submission_id=submission_id,
        name=metadata.get(JOB_NAME_KEY) or None,
        entrypoint=mask_text(entrypoint) if entrypoint else None,
        message=mask_text(message) if message else None,
        error_type=_string(fields, "error_type"),
        start_time_ms=_integer(fields, "start_time"),
        end_time_ms=_integer(fields, "end_time"),
        metadata=mask_mapping(metadata),
        runtime_env=_runtime_env_of(fields),
        driver_node_id=_string(fields, "driver_node_id"),
        driver_exit_code=_integer(fields, "driver_exit_code"),
        driver_agent_http_address=_string(fields, "driver_agent_http_address"),
        entrypoint_resources=_entrypoint_resources(fields),
    )


def with_driver(submission: Job, driver: Job | None) -> Job:
    """A submission with what is known of its first driver. Status and times are the submission's: they say how it ended."""
    if driver is None:
        return submission
    return replace(
        submission,
        job_id=driver.job_id,
        ray_namespace=driver.ray_namespace,
        driver_ip=driver.driver_ip,
        driver_pid=driver.driver_pid,
        driver_node_id=submission.driver_node_id or driver.driver_node_id,
        is_internal=driver.is_internal,
    )


def with_submission(joined: Job | None, submission: Job) -> Job:
    """A newer record of a submission, with the driver that an earlier row already names."""
    if joined is None or joined.type != "SUBMISSION" or joined.job_id is None:
        return submission
    return with_driver(submission, joined)


def keyed(submission: Job, driver_ids: Any) -> Job:
    """A submission id may look like the id of somebody else's driver: then its key says that it is a submission."""
    if submission.submission_id in driver_ids and submission.submission_id != submission.job_id:
        return replace(submission, job_key=f"submission:{submission.submission_id}")
    return submission


def _runtime_env_of(fields: dict[str, Any]) -> dict[str, Any]:
    """`JobInfo.to_json` writes it as text, under another name."""
    text_of_it = _string(fields, "runtime_env_json")
    return _runtime_env(text_of_it) if text_of_it is not None else _masked_runtime_env(fields.get("runtime_env"))


def _runtime_env(serialized: str) -> dict[str, Any]:
    return _masked_runtime_env(parsed_json(serialized)) if serialized else {}


def _masked_runtime_env(value: Any) -> dict[str, Any]:
    return mask_runtime_env(value) if isinstance(value, dict) else {}


def _entrypoint_resources(fields: dict[str, Any]) -> dict[str, float]:
    """What the entrypoint itself reserves, in one map: CPU, GPU, memory (bytes) and custom resources."""
    custom = fields.get("entrypoint_resources")
    amounts = dict(custom) if isinstance(custom, dict) else {}
    for resource, name in (("CPU", "entrypoint_num_cpus"), ("GPU", "entrypoint_num_gpus"), ("memory", "entrypoint_memory")):
        if fields.get(name):
            amounts[resource] = fields[name]
    numbers = {name: float(amount) for name, amount in amounts.items() if type(amount) in (int, float)}
    return dict(sorted(numbers.items()))


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _integer(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_INT else None


def _string_map(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: item if isinstance(item, str) else str(item) for name, item in sorted(value.items())}
