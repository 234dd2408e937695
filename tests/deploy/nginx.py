"""Runs deploy/nginx/raydeck.conf itself in a real nginx: only ports, certificate and upstream are the test's own."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import system_tools

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGURATION = ROOT / "deploy" / "nginx" / "raydeck.conf"
NAME = "raydeck.example.org"
MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/raydeck.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    http_port: int
    https_port: int
    certificate: Path

    def get(self, path: str, host: str = NAME, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of an https request."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False
        connection = HTTPSConnection("127.0.0.1", self.https_port, context=context, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


def write_configuration(folder: Path, upstream_port: int, http_port: int, https_port: int) -> Path:
    """The delivered file with the test's ports and certificate in it, and a main file that includes it."""
    certificate, key = _make_certificate(folder)
    text = CONFIGURATION.read_text("utf-8")
    for old, new in (
        ("server 127.0.0.1:8270;", f"server 127.0.0.1:{upstream_port};"),
        ("listen 80", f"listen 127.0.0.1:{http_port}"),
        ("listen 443", f"listen 127.0.0.1:{https_port}"),
        ("/etc/nginx/tls/raydeck.crt", str(certificate)),
        ("/etc/nginx/tls/raydeck.key", str(key)),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "raydeck.conf").write_text(text, "utf-8")
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder), "utf-8")
    return main


def check(folder: Path, main: Path) -> subprocess.CompletedProcess[str]:
    """`nginx -t`."""
    return subprocess.run([*_program(folder), "-t", "-c", str(main)], capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def proxy_to(folder: Path, upstream_port: int) -> Iterator[Proxy]:
    """nginx with the delivered configuration in front of a port of this machine."""
    http_port, https_port = free_port(), free_port()
    main = write_configuration(folder, upstream_port, http_port, https_port)
    server = subprocess.Popen([*_program(folder), "-c", str(main)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(https_port, server, folder)
        yield Proxy(http_port, https_port, folder / "raydeck.crt")
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(folder: Path) -> list[str]:
    found = system_tools.find_nginx(ROOT)
    assert found, "nginx is missing: make setup-tests"
    return [found, "-p", str(folder), "-e", str(folder / "error.log")]


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "raydeck.crt", folder / "raydeck.key"
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, capture_output=True, check=True, timeout=30)
    return certificate, key


def _wait_for(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nginx did not start: {(folder / 'error.log').read_text(errors='replace')[-1000:]}")
