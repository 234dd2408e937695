"""What /proc says of a process, and what its title says of Ray. Pure: bytes in, figures and names out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_TITLE = 1024
MAX_COMMAND_LINE = 8192
"""Raylets have the longest command line, about 5,000 characters; anything longer is cut."""

RAY_TITLE = "ray::"
IDLE = "IDLE"
AGENT_TITLES = frozenset({"ray::DashboardAgent", "ray::RuntimeEnvAgent"})
SPILLING_PREFIXES = ("IDLE_", "SPILL_", "RESTORE_", "DELETE_")
"""Titles of the workers that move objects to disk and back, such as ray::SPILL_SpillWorker: no tasks of anyone's."""
SPILLING_SUFFIXES = ("SpillWorker", "RestoreWorker")

FOLDER_FLAGS = ("--session-dir", "--session_dir", "--logs-dir", "--log-dir", "--log_dir")
"""How Ray's own processes (GCS, dashboard, log monitor, autoscaler monitor) name their session."""


@dataclass(frozen=True, slots=True)
class Stat:
    """/proc/<pid>/stat. Pid and start time together name a process; a pid alone is given out again."""

    pid: int
    name: str  # of the executable, at most 15 characters
    parent_pid: int
    session_id: int
    user_ticks: int
    system_ticks: int
    num_threads: int
    start_ticks: int  # since boot
    is_zombie: bool = False  # ended, and its parent has not asked how


@dataclass(frozen=True, slots=True)
class ExpensiveMemory:
    """/proc/<pid>/smaps_rollup: the kernel walks all pages for it."""

    pss_bytes: int
    uss_bytes: int


@dataclass(frozen=True, slots=True)
class TitleReading:
    """What a worker's title says of what it runs."""

    class_name: str | None = None
    task_name: str | None = None  # as Ray names tasks: function, or Class.method


@dataclass(frozen=True, slots=True)
class RayletFlags:
    """A raylet's command line, as `ray start` of 2.53 to 2.60 writes it."""

    node_id: str
    session: str
    node_ip: str | None = None
    gcs_address: str | None = None
    session_dir: str | None = None
    is_head_node: bool = False


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One look at one process. Fields are those of the model's Process, which gives their units."""

    pid: int
    parent_pid: int
    name: str
    start_time_ms: int
    seen_at: float
    title: str = ""
    command_line: str = ""
    user: str | None = None
    cpu_percent: float | None = None
    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    rss_bytes: int | None = None
    shared_bytes: int | None = None
    pss_bytes: int | None = None
    uss_bytes: int | None = None
    num_threads: int | None = None
    num_fds: int | None = None
    stdout: str | None = None
    stderr: str | None = None


@dataclass(frozen=True, slots=True)
class RayletProcess:
    """A raylet that runs here."""

    pid: int
    start_time_ms: int
    flags: RayletFlags
    command_line: str  # with long arguments shortened; its process row has the whole
    visible_gpus: str | None = None  # its CUDA_VISIBLE_DEVICES; None: not set, or not ours to read
    ray_commit: str | None = None  # of the Ray it was started from


@dataclass(frozen=True, slots=True)
class NodeProcesses:
    """The processes of one node. `helpers` are Ray's own that name the session and not the node."""

    raylet: RayletProcess
    readings: Mapping[int, ProcessReading] = field(default_factory=dict)


def parse_stat(raw: bytes) -> Stat | None:
    """None for what is no stat line. The name may hold blanks and brackets, so the last bracket ends it."""
    start, end = raw.find(b"("), raw.rfind(b")")
    words = raw[end + 2 :].split()
    if start < 0 or end < start or len(words) < 20:
        return None
    return Stat(
        pid=int(raw[:start]),
        name=raw[start + 1 : end].decode("utf-8", "replace"),
        parent_pid=int(words[1]),
        session_id=int(words[3]),
        user_ticks=int(words[11]),
        system_ticks=int(words[12]),
        num_threads=int(words[17]),
        start_ticks=int(words[19]),
        is_zombie=words[0] in (b"Z", b"X"),
    )


def parse_statm(raw: bytes, page_bytes: int) -> tuple[int, int] | None:
    """/proc/<pid>/statm: bytes (resident, of which shared)."""
    words = raw.split()
    return (int(words[1]) * page_bytes, int(words[2]) * page_bytes) if len(words) >= 3 else None


def parse_smaps_rollup(raw: bytes) -> ExpensiveMemory | None:
    """None where the kernel or the user may not say."""
    kilobytes = {}
    for line in raw.splitlines()[1:]:
        name, _, rest = line.partition(b":")
        words = rest.split()
        if len(words) == 2 and words[0].isdigit():
            kilobytes[name] = int(words[0])
    if b"Pss" not in kilobytes:
        return None
    unshared = kilobytes.get(b"Private_Clean", 0) + kilobytes.get(b"Private_Dirty", 0)
    return ExpensiveMemory(kilobytes[b"Pss"] * 1024, unshared * 1024)


def parse_arguments(raw: bytes) -> list[str]:
    """/proc/<pid>/cmdline. Ray's workers overwrite theirs with a title and fill the rest with zeros."""
    return [word.decode("utf-8", "replace") for word in raw[: 8 * MAX_COMMAND_LINE].rstrip(b"\0").split(b"\0")] if raw else []


def parse_environ(raw: bytes, names: tuple[str, ...]) -> dict[str, str]:
    """Only the asked-for variables of /proc/<pid>/environ: the others may be secrets."""
    wanted = {name.encode(): name for name in names}
    found: dict[str, str] = {}
    for word in raw.split(b"\0"):
        name, equals, value = word.partition(b"=")
        if equals and name in wanted:
            found[wanted[name]] = value.decode("utf-8", "replace")
    return found


def command_line(arguments: list[str]) -> str:
    """One line for people; cut where it is very long."""
    return " ".join(arguments).strip()[:MAX_COMMAND_LINE]


def short_command_line(arguments: list[str], longest: int = 200) -> str:
    """The command line without what makes a raylet's long: whole command lines of others within an argument."""
    return command_line([word if len(word) <= longest else word[:longest] + "…" for word in arguments])


def title_of(arguments: list[str], name: str) -> str:
    """ray::… where Ray set a title, the script where Python runs one, else the executable's name."""
    first = arguments[0].strip() if arguments else ""
    if first.startswith(RAY_TITLE):
        return first[:MAX_TITLE]
    if name.startswith("python"):
        script = next((word for word in arguments[1:] if word.endswith(".py") and not word.startswith("-")), name)
        return script.rpartition("/")[2][:MAX_TITLE]
    return name


def decode_title(title: str, is_actor: bool, known_class: str | None = None, is_idle: bool = False) -> TitleReading:
    """What runs, from a title such as ray::IDLE, ray::func, ray::Class or ray::Class.method.

    An actor's title alone does not tell a method from a class whose own name holds a dot: `known_class` is what this
    function said of the same process before, `is_idle` that its raylet says it runs nothing.
    """
    text = title[len(RAY_TITLE) :] if title.startswith(RAY_TITLE) else ""
    if not text or text == IDLE or title in AGENT_TITLES or is_spilling(title):
        return TitleReading(known_class)
    if not is_actor:
        return TitleReading(None, text)
    guess = text if is_idle or "." not in text else text.rpartition(".")[0]
    class_name = guess if known_class is None or known_class.startswith(guess + ".") else known_class
    return TitleReading(class_name, None if text == class_name else text)


def is_spilling(title: str) -> bool:
    """Whether the title is that of a worker that spills or restores objects."""
    text = title[len(RAY_TITLE) :] if title.startswith(RAY_TITLE) else ""
    return text.startswith(SPILLING_PREFIXES) and text.endswith(SPILLING_SUFFIXES)


def raylet_flags(arguments: list[str]) -> RayletFlags | None:
    """None when this is no raylet's command line."""
    flags: dict[str, str] = {}
    for argument in arguments[1:]:
        name, equals, value = argument.partition("=")
        if equals and name.startswith("--"):
            flags.setdefault(name[2:].replace("-", "_"), value)
    node_id, session = flags.get("node_id", ""), flags.get("session_name", "")
    if not is_node_id(node_id) or not session or "raylet_socket_name" not in flags:
        return None
    return RayletFlags(
        node_id=node_id,
        session=session,
        node_ip=flags.get("node_ip_address"),
        gcs_address=flags.get("gcs_address"),
        session_dir=flags.get("session_dir"),
        is_head_node="node:__internal_head__" in flags.get("static_resource_list", "").split(","),
    )


def is_node_id(text: str) -> bool:
    """56 hex digits."""
    return len(text) == 56 and all(letter in "0123456789abcdef" for letter in text)


def belongs_to_session(arguments: list[str], session: str) -> bool:
    """Whether a process names a folder of this Ray session as its own (a `tail` of a log does not)."""
    for argument in arguments[1:]:
        name, equals, value = argument.partition("=")
        if equals and name in FOLDER_FLAGS and session in value.split("/"):
            return True
    return False


def own_kind(name: str, title: str) -> str:
    """The kind of a process that the raylet does not list as a worker or driver."""
    if name == "raylet":
        return "RAYLET"
    if name == "gcs_server":
        return "GCS_SERVER"
    if title in AGENT_TITLES:
        return "AGENT"
    if title.startswith(RAY_TITLE):
        return "WORKER"
    return "OTHER"
