"""gunicorn's configuration for the cluster listener: one process, no access log (a path may hold the ingest secret)."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

from clusterstate.settings import read_settings  # noqa: E402 - after the patch

workers = 1
worker_class = "gevent"
worker_connections = 2000  # an agent of each node keeps one open
preload_app = False
control_socket_disable = True
timeout = 60
graceful_timeout = 2
keepalive = 75
limit_request_line = 4094
limit_request_fields = 32
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
forwarded_allow_ips = ""
header_map = "drop"
proc_name = "raydeck-receiver"
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes an unlinked file there
loglevel = read_settings().log_level
accesslog = None
errorlog = "-"
