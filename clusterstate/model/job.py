"""A Ray job: a driver, a submission, or both."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Job:
    """One job: the driver's entry in the GCS job table joined with its submission record."""

    job_key: str  # the submission id where there is one, else the job id; a further driver of a submission: its job id
    type: str  # DRIVER, SUBMISSION
    status: str  # PENDING, RUNNING, SUCCEEDED, STOPPED, FAILED; a driver job is RUNNING or SUCCEEDED, as in Ray
    job_id: str | None = None  # 8 hex digits; None: a submission without a driver (yet)
    submission_id: str | None = None
    name: str | None = None  # metadata.job_name
    entrypoint: str | None = None
    message: str | None = None
    error_type: str | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    runtime_env: dict[str, object] = field(default_factory=dict)  # secrets masked
    ray_namespace: str | None = None
    driver_ip: str | None = None
    driver_pid: int | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None
    driver_agent_http_address: str | None = None
    entrypoint_resources: dict[str, float] = field(default_factory=dict)
    driver_evidence: str | None = None  # of a driver job: what its process's record says of a bad end; Ray's status does not count it
    is_internal: bool = False  # namespace starts with _ray_internal: Ray's own drivers
