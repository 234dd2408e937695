"""What somebody asks Ray to run: the fields of a submission in Ray's words, what each may be, and the copy without secrets."""

from __future__ import annotations

import json
import math
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clusterstate.masking import mask_mapping, mask_runtime_env, mask_text

MAX_ENTRYPOINT = 64 * 1024
MAX_ID = 128
MAX_JSON = 64 * 1024
MAX_METADATA = 100
MAX_METADATA_TEXT = 4096
MAX_ENV_VARS = 500
MAX_AMOUNT = 1_000_000
MAX_MEMORY_BYTES = 1 << 50
ID_PREFIX = "raysubmit_"
ID_LETTERS = sorted(set(string.ascii_letters + string.digits) - {"I", "l", "o", "O", "0"})
"""As `generate_job_id` in `ray.dashboard.modules.job.job_manager`: none that look alike."""
OWN_METADATA = "raydeck_"
"""Begins the names of metadata that Raydeck writes itself."""
SUBMITTED_BY, OPERATION_ID = "raydeck_submitted_by", "raydeck_operation"
RUNTIME_ENV_FIELDS = ("env_vars", "working_dir", "py_modules", "pip", "uv", "conda", "config")
"""What a runtime environment may hold here. The others name a container or code that runs before the entrypoint does."""
URI_PROTOCOLS = ("gcs", "http", "https", "s3", "gs", "abfss", "azure")

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class BadRequest(ValueError):
    """Fields that cannot be as asked: field → a sentence that says what is allowed."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True)
class JobRequest:
    """One submission, as `POST /api/jobs/` of Ray names its fields. Amounts are for the entrypoint alone."""

    entrypoint: str
    runtime_env: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None  # bytes

    def masked(self) -> dict[str, object]:
        """What may be shown and recorded: without values that are or may be secret."""
        return _given(
            {
                **asdict(self),
                "entrypoint": mask_text(self.entrypoint),
                "runtime_env": mask_runtime_env(self.runtime_env),
                "metadata": mask_mapping(self.metadata),
            }
        )

    def for_ray(self, submission_id: str, who: str, operation_id: str) -> dict[str, Any]:
        """The body of a submission. Its metadata says who asked for it here, and by which operation it can be told."""
        metadata = {**self.metadata, SUBMITTED_BY: who, OPERATION_ID: operation_id}
        return _given({**asdict(self), "submission_id": submission_id, "metadata": metadata})


def new_submission_id() -> str:
    """An id as Ray itself makes them."""
    return ID_PREFIX + "".join(secrets.choice(ID_LETTERS) for _ in range(16))


def id_problem(text: str) -> str | None:
    """What is wrong with a submission id; None: nothing."""
    if len(text) > MAX_ID or not _ID.fullmatch(text):
        return f"A submission id has 1 to {MAX_ID} letters, digits, '_', '-' or '.', and begins with a letter, a digit or '_'."
    if text in {"submit"}:
        return "A submission id cannot be the name of a page here: submit."
    return None


def read_request(typed: Mapping[str, str]) -> JobRequest:
    """A request from the texts of a form, one for each field; what is empty was not given. Raises BadRequest with every problem."""
    problems: dict[str, str] = {}

    def read(name: str, reader: Any) -> Any:
        try:
            return reader(typed.get(name, ""))
        except ValueError as problem:
            problems[name] = str(problem)
            return None

    request = JobRequest(
        entrypoint=read("entrypoint", _entrypoint) or "",
        runtime_env=read("runtime_env", _runtime_env) or {},
        metadata=read("metadata", _metadata) or {},
        entrypoint_num_cpus=read("entrypoint_num_cpus", lambda text: _amount(text, "CPUs")),
        entrypoint_num_gpus=read("entrypoint_num_gpus", lambda text: _amount(text, "GPUs")),
        entrypoint_memory=read("entrypoint_memory", _memory),
    )
    if problems:
        raise BadRequest(problems)
    return request


def _entrypoint(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()  # as browsers send line breaks
    if not text:
        raise ValueError("An entrypoint is needed: the command to run, such as python my_script.py")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ENTRYPOINT:
        raise ValueError(f"The entrypoint is longer than {MAX_ENTRYPOINT // 1024} KiB.")
    return _plain(text, "The entrypoint")


def _runtime_env(text: str) -> dict[str, Any]:
    env = _object(text, "The runtime environment", '{"env_vars": {"NAME": "value"}}')
    for name in env:
        if name not in RUNTIME_ENV_FIELDS:
            raise ValueError(f"The runtime environment cannot have {_short(name)} here. Allowed are: {', '.join(RUNTIME_ENV_FIELDS)}.")
    variables = env.get("env_vars", {})
    if not isinstance(variables, dict) or len(variables) > MAX_ENV_VARS:
        raise ValueError(f"env_vars must be an object of at most {MAX_ENV_VARS} texts.")
    for name, value in variables.items():
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"env_vars has {_short(name)}: a name has letters, digits and '_', and begins with no digit.")
        if not isinstance(value, str):
            raise ValueError(f"env_vars has {_short(name)}, whose value is no text: write it in double quotes.")
    if "working_dir" in env:
        _check_uri(env["working_dir"], "working_dir")
    modules = env.get("py_modules", [])
    if not isinstance(modules, list):
        raise ValueError("py_modules must be a list of URIs.")
    for one in modules:
        _check_uri(one, "py_modules")
    return env


def _metadata(text: str) -> dict[str, str]:
    found = _object(text, "Metadata", '{"job_name": "nightly"}')
    if len(found) > MAX_METADATA:
        raise ValueError(f"Metadata has more than {MAX_METADATA} entries.")
    for name, value in found.items():
        if not isinstance(value, str):
            raise ValueError(f"Metadata has {_short(name)}, whose value is no text: write it in double quotes.")
        if len(name) > MAX_METADATA_TEXT or len(value) > MAX_METADATA_TEXT:
            raise ValueError(f"Metadata has {_short(name)}, which is longer than {MAX_METADATA_TEXT} characters.")
        if name.startswith(OWN_METADATA) or name == "job_submission_id":
            raise ValueError(f"Metadata cannot have {_short(name)}: that name is written by Ray or Raydeck.")
    return found


def _object(text: str, what: str, example: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    if len(text) > MAX_JSON:
        raise ValueError(f"{what} is longer than {MAX_JSON // 1024} KiB.")
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        where = f" (line {problem.lineno}, column {problem.colno}: {problem.msg})" if isinstance(problem, json.JSONDecodeError) else ""
        raise ValueError(f"{what} must be a JSON object such as {example}{where}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{what} must be a JSON object such as {example}.")
    _check_texts(found, what, 0)
    return found


def _check_texts(value: Any, what: str, depth: int) -> None:
    if depth > 8:
        raise ValueError(f"{what} is nested more than 8 deep.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} holds a number that is too large.")
    if isinstance(value, str):
        _plain(value, what)
    elif isinstance(value, dict):
        for name, item in value.items():
            _plain(name, what)
            _check_texts(item, what, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, what, depth + 1)


def _plain(text: str, what: str) -> str:
    """Text that a process can be given."""
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL character, which no command or variable can.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a character: text must be valid Unicode.") from None
    return text


def _check_uri(value: Any, name: str) -> None:
    protocol = value.partition("://")[0] if isinstance(value, str) and "://" in value else ""
    if protocol not in URI_PROTOCOLS:
        raise ValueError(
            f"{name} must be a URI ({', '.join(p + '://' for p in URI_PROTOCOLS)}) of a package: this page uploads no folder. "
            "`ray job submit --working-dir` does."
        )


def _amount(text: str, what: str) -> float | None:
    number = _number(text, f"{what} must be a number from 0 to {MAX_AMOUNT}, such as 1 or 0.5.")
    if number is not None and not 0 <= number <= MAX_AMOUNT:
        raise ValueError(f"{what} must be a number from 0 to {MAX_AMOUNT}, such as 1 or 0.5.")
    return number


UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MEMORY = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)


def _memory(text: str) -> int | None:
    """Bytes, or with a unit: 512 MiB, 2G."""
    if not text.strip():
        return None
    found = _MEMORY.fullmatch(text.strip()[:64])
    amount = int(float(found["number"]) * UNITS[found["unit"].lower()]) if found else -1
    if not 0 <= amount <= MAX_MEMORY_BYTES:
        raise ValueError("Memory must be bytes, or an amount such as 512 MiB or 2 GiB; 1 PiB at most.")
    return amount


def _number(text: str, otherwise: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        number = float(text) if text.isascii() and len(text) <= 64 else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(otherwise)
    return number


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _short(name: str) -> str:
    return ascii(name[:64])


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something. An amount of 0 is what Ray takes for granted."""
    return {name: value for name, value in fields.items() if value not in (None, {}, 0)}
