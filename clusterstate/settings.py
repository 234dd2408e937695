"""Every setting: its variable, type, default and one line of help; read once into a frozen object."""

# ruff: noqa: RUF009 - _setting makes a dataclass field

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "RAYDECK_"
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - these are what is looked for, not bound to
"""Hosts that say to listen at every address of this machine."""
FALSE_WORDS = frozenset({"0", "false", "no", "off", ""})


class BadSetting(ValueError):
    """A setting has a value that cannot be used; the message names the variable and what is allowed."""


def _setting(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:  # noqa: A002 - reads as documentation
    metadata = {"help": help, "low": low, "high": high}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "raydeck"


@dataclass(frozen=True)
class Settings:
    """All settings of one run. Each field is `RAYDECK_<NAME>` in the environment and `--<name>` on the command line."""

    host: str = _setting("127.0.0.1", "Address the web pages listen on.")
    port: int = _setting(8270, "Port the web pages listen on; 0 picks a free one.", low=0, high=65535)
    state_dir: Path = _setting(_default_state_dir, "Folder for Redis data, the index, the journal and keys (0700).")
    redis_url: str = _setting("", "Redis to use (redis://, rediss://, unix://). Empty: a private one is started.")
    key_file: str = _setting("", "Keys that `raydeck token node` made on the head, for a node elsewhere. Empty: this host's own.")
    cluster_name: str = _setting("", "Name of the watched cluster in URLs. Empty: demo with --demo, else default.")
    address: str = _setting("", "GCS address host:port of the Ray cluster. Empty: RAY_ADDRESS, else the one running here.")
    url_prefix: str = _setting("", "Path prefix below which all pages live, such as /raydeck.")
    allowed_hosts: tuple[str, ...] = _setting((), "Host names that requests may ask for, beside the listening address. Comma list.")
    cluster_listen: str = _setting(
        "",
        "HOST:PORT for Ray's agents to push task events to, over plain HTTP: on the cluster's private network, never public. "
        "Pages are not served there. Port 0 picks one.",
    )
    in_place: bool = _setting(
        False, "Stand in the official dashboard's place: clients and agents of the cluster find cluster_listen as its address."
    )
    spool_mb: int = _setting(
        512, "Megabytes of pushed events that may wait to be read; beyond that agents keep them.", low=200, high=100_000
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), "Addresses or networks of proxies whose X-Forwarded-* are believed; 'unix' for a socket. Comma list."
    )
    behind_tls_proxy: bool = _setting(False, "A proxy in front speaks TLS: cookies are Secure and other addresses may be bound.")
    tls_certfile: str = _setting("", "PEM certificate for serving TLS without a proxy.")
    tls_keyfile: str = _setting("", "PEM key for serving TLS without a proxy.")
    web_workers: int = _setting(2, "gunicorn worker processes.", low=1, high=64)
    max_dead_actors: int = _setting(100_000, "Dead actors kept per session; the oldest go first.", low=0, high=10_000_000)
    max_dead_nodes: int = _setting(1_000, "Dead nodes kept per session.", low=0, high=100_000)
    max_dead_workers: int = _setting(10_000, "Dead workers kept per session.", low=0, high=1_000_000)
    max_finished_jobs: int = _setting(10_000, "Finished jobs kept per session.", low=0, high=1_000_000)
    max_tasks: int = _setting(1_000_000, "Task attempts that have ended kept per session; the oldest go first.", low=0, high=100_000_000)
    history_minutes: int = _setting(30, "Minutes of node samples kept for the small charts.", low=1, high=1440)
    session_retention_days: int = _setting(30, "Days an ended session stays readable.", low=0, high=3650)
    kept_logs_node_mb: int = _setting(
        256, "Megabytes of log files kept of one host and session, compressed, for when the node is gone.", low=1, high=1_000_000
    )
    kept_logs_gb: float = _setting(
        10.0, "Gigabytes of log files kept of a cluster on the head; what was written longest ago goes first.", low=0.1, high=100_000.0
    )
    kept_logs_kb_s: int = _setting(
        1024, "Kilobytes of log files a host may send to the head in a second, before compression. 0: none are kept.", low=0, high=1_000_000
    )
    max_profiles: int = _setting(200, "Profiles kept of a cluster; the oldest go first, stack traces before others.", low=1, high=10_000)
    profile_retention_days: int = _setting(30, "Days a profile stays readable.", low=1, high=90)
    poll_interval_s: float = _setting(1.0, "Seconds between polls of what Ray does not publish.", low=0.2, high=60.0)
    stale_after_s: float = _setting(5.0, "Age at which a polled answer is called stale.", low=1.0, high=3600.0)
    sign_in_hours: float = _setting(24.0, "Hours a sign-in lasts without use.", low=0.1, high=8760.0)
    refresh_s: float = _setting(1.0, "Seconds between updates of an open page.", low=0.5, high=3600.0)
    query_deadline_ms: int = _setting(250, "Milliseconds one query may take before the answer says 'at least'.", low=10, high=60_000)
    log_level: str = _setting("info", "debug, info, warning or error.")

    @property
    def variables(self) -> dict[str, str]:
        """The environment that gives another process these settings."""
        return {variable(f.name): _as_text(getattr(self, f.name)) for f in fields(self)}


def variable(name: str) -> str:
    """The environment variable of a setting: `max_dead_actors` → `RAYDECK_MAX_DEAD_ACTORS`."""
    return PREFIX + name.upper()


def read_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Settings from the environment, then from `overrides` (command line; None is not given).

    Raises BadSetting with the variable's name and what is allowed.
    """
    given = dict(os.environ if environ is None else environ)
    _refuse_unknown(given)
    values: dict[str, Any] = {}
    for f in fields(Settings):
        text = given.get(variable(f.name))
        if f.name == "max_dead_actors" and text is None:
            text = given.get("RAY_maximum_gcs_destroyed_actor_cached_count")
        override = overrides.get(f.name)
        if override is not None:
            text = _as_text(override)
        if text is not None:
            values[f.name] = _parse(f.name, str(f.type), text, f.metadata)
    return _check(Settings(**values))


def describe() -> list[tuple[str, str, str, str]]:
    """(variable, option, default, help) of every setting, for the documentation."""
    rows = []
    for f in fields(Settings):
        default = "~/.local/state/raydeck" if f.name == "state_dir" else _as_text(f.default)
        rows.append((variable(f.name), "--" + f.name.replace("_", "-"), default, f.metadata["help"]))
    return rows


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {variable(f.name) for f in fields(Settings)}
    unknown = sorted(name for name in given if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadSetting(f"{unknown[0]} is not a setting of Raydeck. Settings are: {', '.join(sorted(known))}.")


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return str(value)


def _parse(name: str, kind: str, text: str, metadata: Mapping[str, Any]) -> Any:
    try:
        if kind == "bool":
            return _parse_bool(text)
        if kind == "Path":
            return Path(text).expanduser().absolute()
        if kind.startswith("tuple"):
            return tuple(item.strip() for item in text.split(",") if item.strip())
        if kind == "str":
            return text.strip()
        number = int(text) if kind == "int" else float(text)
    except ValueError:
        word = {"bool": "1 or 0", "int": "a whole number", "float": "a number"}.get(kind, kind)
        raise BadSetting(f"{variable(name)} is {text!r}; it must be {word}.") from None
    low, high = metadata["low"], metadata["high"]
    if not low <= number <= high:
        raise BadSetting(f"{variable(name)} is {text}; it must be from {low:g} to {high:g}.")
    return number


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError(word)
    return word in TRUE_WORDS


def _check(settings: Settings) -> Settings:
    if settings.log_level.lower() not in {"debug", "info", "warning", "error"}:
        raise BadSetting(f"{variable('log_level')} is {settings.log_level!r}; it must be debug, info, warning or error.")
    if settings.cluster_listen and host_and_port(settings.cluster_listen) is None:
        raise BadSetting(f"{variable('cluster_listen')} is {settings.cluster_listen!r}; it must be HOST:PORT, such as 127.0.0.1:8271.")
    if settings.in_place and not settings.cluster_listen:
        raise BadSetting(f"{variable('in_place')} needs {variable('cluster_listen')}: the address that the cluster is to find Raydeck at.")
    if settings.url_prefix and not settings.url_prefix.startswith("/"):
        raise BadSetting(f"{variable('url_prefix')} is {settings.url_prefix!r}; it must start with a slash, such as /raydeck.")
    for proxy in settings.trusted_proxies:
        if not is_peer(proxy):
            raise BadSetting(
                f"{variable('trusted_proxies')} has {proxy!r}; each entry must be an IP address, a network such as 10.0.0.0/8, or unix. "
                "A host name is none of these: give its address."
            )
    if bool(settings.tls_certfile) != bool(settings.tls_keyfile):
        raise BadSetting(f"{variable('tls_certfile')} and {variable('tls_keyfile')} must be given together.")
    if settings.cluster_name and not is_cluster_name(settings.cluster_name):
        raise BadSetting(
            f"{variable('cluster_name')} is {settings.cluster_name!r}; it must be 1 to 63 letters, digits, '-', '_' or '.', "
            "starting with a letter or digit."
        )
    return settings


def is_peer(text: str) -> bool:
    """Whether `text` names where requests come from: an address, a network, or `unix` for a socket."""
    try:
        return text == "unix" or bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def host_and_port(text: str) -> tuple[str, int] | None:
    """The two parts of `HOST:PORT` or `[V6]:PORT`; None when it is neither."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and not text.startswith("[")):
        return None
    return host, int(port)


def is_cluster_name(text: str) -> bool:
    """Whether `text` may name a cluster in URLs, keys and file names."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return 0 < len(text) <= 63 and text[0].isalnum() and set(text) <= allowed and not text.endswith((".db", ".db-wal", ".db-shm"))
