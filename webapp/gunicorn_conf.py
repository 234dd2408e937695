"""gunicorn's configuration: `gunicorn -c python:webapp.gunicorn_conf "webapp.app:app_from_environment()"`.

gevent is patched in before anything else is loaded, so that no lock or socket of the unpatched kind is left anywhere.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 - after the patch
import ipaddress  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from gunicorn.glogging import Logger  # noqa: E402

from clusterstate.settings import Settings, read_settings  # noqa: E402
from webapp.background import SWITCH_S  # noqa: E402
from webapp.exposition import process_row  # noqa: E402
from webapp.parts import NAME  # noqa: E402

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class AccessLog(Logger):
    """Without query strings (they hold one-time tokens and what people search for) and without the polls that found nothing new."""

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> Any:
        atoms = super().atoms(resp, req, environ, request_time)
        atoms["U"] = path_as_sent(environ)
        return atoms

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        if not str(resp.status).startswith("304") and environ.get("PATH_INFO") not in QUIET:
            super().access(resp, req, environ, request_time)


def path_as_sent(environ: dict[str, Any]) -> str:
    """The path still percent-encoded, so that nobody writes lines of their own into the log."""
    return str(environ.get("RAW_URI", "-")).partition("?")[0].encode("ascii", "backslashreplace").decode("ascii")[:512]


def listening(host: str, port: int) -> str:
    """As gunicorn wants an address."""
    if host.startswith(("unix:", "fd://")):
        return host
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return f"[{host}]:{port}" if is_v6 else f"{host}:{port}"


def options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings for these of ours."""
    return {
        "bind": listening(settings.host, settings.port),
        "workers": settings.web_workers,
        "worker_class": "gevent",
        "worker_connections": 1000,
        "preload_app": True,
        "control_socket_disable": True,  # it would be one fixed path in the home folder, shared by all instances
        "timeout": 30,
        "graceful_timeout": 2,  # answers are short, and an open connection must not delay Ctrl-C
        "keepalive": 15,  # polls come each second and reuse their connection
        "limit_request_line": 8190,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        "secure_scheme_headers": {},  # who may say X-Forwarded-Proto is webapp.proxies' question alone
        "forwarder_headers": "",
        "forwarded_allow_ips": "",
        "header_map": "drop",
        "certfile": settings.tls_certfile or None,
        "keyfile": settings.tls_keyfile or None,
        "proc_name": "raydeck-web",
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 - heartbeats must not wait for a disk; gunicorn makes an unlinked file there
        "loglevel": settings.log_level,
        "logger_class": AccessLog,
        "accesslog": "-",
        "access_log_format": '%(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms %({x-request-id}o)s',
        "errorlog": "-",
    }


def when_ready(server: Any) -> None:
    """Before the first fork: what is loaded is never collected, so its pages stay shared."""
    del server
    gc.collect()
    gc.freeze()


def pre_fork(server: Any, worker: Any) -> None:
    """Gives the worker its row of the shared counters."""
    taken = [getattr(other, "raydeck_row", 0) for other in server.WORKERS.values()]
    worker.raydeck_row = process_row(taken, server.cfg.workers)


def post_worker_init(worker: Any) -> None:
    sys.setswitchinterval(SWITCH_S)
    worker.wsgi.extensions[NAME].counts.use_row(worker.raydeck_row)


globals().update(options(read_settings()))
