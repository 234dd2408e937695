"""What only a real gunicorn shows: odd framing, headers of the kind proxies use, its log, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clusterstate import paths
from clusterstate.journal import Journal
from clusterstate.settings import Settings
from tests.built_cluster import BuiltCluster


@dataclass
class Served:
    """A running gunicorn."""

    port: int
    token: str
    log: Path
    process: subprocess.Popen[bytes]

    def raw(self, request: bytes) -> bytes:
        """What comes back for these bytes, until the server closes or is silent for a second."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as peer:
            peer.settimeout(1.0)
            try:
                peer.sendall(request)
                answer = b""
                while chunk := peer.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionResetError, BrokenPipeError):
                pass
            return answer

    def get(self, path: str, *headers: str) -> bytes:
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers, "Connection: close", "", ""]
        return self.raw("\r\n".join(lines).encode())

    def status(self, request: bytes) -> int:
        return int(self.raw(request)[9:12] or b"0")


@pytest.fixture
def served(settings: Settings, users: Journal, cluster: BuiltCluster) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chosen = replace(settings, port=port, web_workers=1)
    token = users.new_token("vera", "test", "viewer", time.time())
    log = paths.journal_file(settings.state_dir).with_name("web.log")
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webapp.gunicorn_conf", "webapp.app:app_from_environment()"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **chosen.variables}, stdout=out, stderr=out)
    found = Served(port, token, log, process)
    try:
        _wait(found)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _wait(served: Served) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up and served.process.poll() is None:
        try:
            if b" 200 " in served.get("/healthz")[:20]:
                return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(served.log.read_text()[-2000:])


def test_a_served_app_answers_its_owner_and_nobody_else(served: Served) -> None:
    bearer = f"Authorization: Bearer {served.token}"
    body = served.get("/c/demo/actors.json", bearer).partition(b"\r\n\r\n")[2]
    assert json.loads(body)["total"] == 0
    assert b" 401 " in served.get("/c/demo/actors.json")[:20]

    # headers with which clients pose as a proxy, in both spellings
    for header in (
        "X-Forwarded-Host: evil.example",
        "X_Forwarded_Host: evil.example",
        "SCRIPT_NAME: /evil",
        "Script-Name: /evil",
        "PATH_INFO: /metrics",
    ):
        answer = served.get("/account", header, "Accept: text/html", "X-Forwarded-Proto: https", "X_FORWARDED_PREFIX: /evil")
        assert b"Location: /login?next=/account\r\n" in answer, header
        assert b"Secure" not in answer

    # a second Host, another host in the request line
    host = f"Host: 127.0.0.1:{served.port}".encode()
    end = b"\r\nConnection: close\r\n\r\n"
    assert served.status(b"GET /healthz HTTP/1.1\r\n" + host + b"\r\nHost: evil.example" + end) in (400, 421)
    assert served.status(b"GET http://evil.example/healthz HTTP/1.1\r\n" + host + end) == 400
    assert served.status(b"GET /healthz HTTP/1.1" + end) == 400

    # framing that two parsers could read differently, and what is too large
    post = b"POST /login HTTP/1.1\r\n" + host + b"\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    for odd in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: +5\r\n\r\nabcde",
        b"X-Folded: a\r\n b\r\n\r\n",
        b"X-Large: " + b"x" * 65_536 + b"\r\n\r\n",
        b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"Content-Length: 105906176\r\n\r\nname=x",
    ):
        assert 400 <= served.status(post + odd) < 502, odd[:60]
    assert served.process.poll() is None

    # what is written down holds no secret, and nobody writes lines of their own
    served.get("/login?token=secret-canary&next=/x")
    served.get("/nowhere%0a127.0.0.1%20%22GET%20/forged?q=secret-canary")
    started = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(8) == 0
    assert time.monotonic() - started < 8
    log = served.log.read_text()
    assert '"GET /c/demo/actors.json" 200' in log
    assert "secret-canary" not in log
    assert '\n127.0.0.1 "GET /forged' not in log
    assert served.token not in log
