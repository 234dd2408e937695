"""The job API of a node's agent (`ray.dashboard.modules.job.job_agent`), asked by plain HTTP: no redirects, no proxies, little patience.

It is there with `ray[default]`. The official dashboard uses the same calls.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from workers.operations.running import NotYet, Refusal, Unsure
from workers.sources.auth import ray_token

TIMEOUT_S = 40.0
CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_REASON = 500


class AgentError(Exception):
    """The agent answered with an error: status and its last line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def submit(agent: tuple[str, int], body: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Hands over a job. Raises NotYet (nothing was sent), Unsure (no answer), AgentError."""
    _post(agent, "/api/job_agent/jobs/", body, environ)


def stop(agent: tuple[str, int], submission_id: str, environ: Mapping[str, str]) -> bool:
    """Asks for an end; False: nothing ran under this id. Raises as `submit`."""
    answer = _post(agent, f"/api/job_agent/jobs/{quote(submission_id, safe='')}/stop", {}, environ)
    return isinstance(answer, dict) and answer.get("stopped") is True


def _post(agent: tuple[str, int], path: str, body: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    host, port = agent
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
    try:
        connection.connect()
    except OSError as error:
        raise NotYet(f"The agent of the head node does not answer at {host}:{port} ({_word(error)}).") from None
    try:
        connection.sock.settimeout(TIMEOUT_S)
        connection.request("POST", path, json.dumps(body).encode(), _headers(environ))
        answer = connection.getresponse()
        status, content = answer.status, answer.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unsure(f"The agent of the head node gave no answer ({_word(error)}).") from None
    finally:
        connection.close()
    if status in (401, 403):
        raise Refusal("The agent of the head node refuses our token: RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH must hold the cluster's.")
    if status != 200:
        raise AgentError(status, last_line(content))
    try:
        return json.loads(content)
    except ValueError:
        return None


def last_line(content: bytes) -> str:
    """What a traceback or an error page comes down to."""
    lines = [line.strip() for line in content.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    return (lines[-1] if lines else "no reason given")[:MAX_REASON]


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    token = ray_token(environ)
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def _word(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
