"""The delivered nginx configuration, in a real nginx."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy.nginx import CONFIGURATION, NAME, Proxy, check, free_port, proxy_to, write_configuration
from tests.deploy.running import RAYDECK, running
from tests.private_redis import PrivateRedis

CLAIMS = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "X_Forwarded_For": "203.0.113.9",
}


class WhatArrived(BaseHTTPRequestHandler):
    """Answers with the request's headers, as the app behind the proxy would see them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Nothing: the tests' output is for failures."""


@pytest.fixture
def proxy(short_dir: Path) -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), WhatArrived)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with proxy_to(short_dir, server.server_port) as running:
        yield running
    server.shutdown()
    server.server_close()


def test_the_configuration_uses_nothing_that_goes_wrong_easily() -> None:
    lines = [line.split("#")[0] for line in CONFIGURATION.read_text("utf-8").splitlines()]
    found = [line for line in lines if re.search(r"^\s*(alias|rewrite|set|if|ssi|slice|sub_filter)\b|^\s*map\b|~\*?\s", line)]
    assert not found


def test_nginx_accepts_the_configuration_without_a_warning(short_dir: Path) -> None:
    done = check(short_dir, write_configuration(short_dir, free_port(), free_port(), free_port()))
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_what_a_visitor_claims_about_itself_does_not_reach_the_app(proxy: Proxy) -> None:
    status, _, body = proxy.get("/", headers=CLAIMS)
    arrived = json.loads(body)
    assert status == 200
    assert dict(arrived)["x-forwarded-for"] == "127.0.0.1"
    assert dict(arrived)["x-forwarded-host"] == NAME
    assert dict(arrived)["x-forwarded-proto"] == "https"
    assert dict(arrived)["host"] == NAME
    assert not {"x-forwarded-prefix", "forwarded", "x-real-ip", "x_forwarded_for"} & {name for name, _ in arrived}
    assert not [value for _, value in arrived if "evil" in value or "203.0.113" in value]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", f"{NAME}.evil.example"])
def test_a_request_for_another_name_is_misdirected(proxy: Proxy, host: str) -> None:
    status, _, body = proxy.get("/", host=host)
    assert status == 421
    assert b"x-forwarded" not in body


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    connection = HTTPConnection("127.0.0.1", proxy.http_port, timeout=10)
    connection.request("GET", "/c/demo/actors?state=DEAD", headers={"Host": NAME})
    answer = connection.getresponse()
    connection.close()
    assert answer.status == 308
    assert answer.headers["Location"] == f"https://{NAME}/c/demo/actors?state=DEAD"


def test_while_the_app_is_away_the_page_says_so_and_tries_again(short_dir: Path) -> None:
    with proxy_to(short_dir, free_port()) as proxy:
        status, headers, body = proxy.get("/")
    assert status == 503
    assert headers["retry-after"] == "3"
    assert headers["refresh"] == "3"
    assert b"Raydeck is away" in body
    assert b"nginx" not in body


def test_pages_behind_the_proxy_have_secure_cookies_and_links_of_the_public_name(short_dir: Path, redis_server: PrivateRedis) -> None:
    """The whole way: browser, nginx with the delivered configuration, gunicorn, app."""
    environment = {
        "RAYDECK_BEHIND_TLS_PROXY": "1",
        "RAYDECK_TRUSTED_PROXIES": "127.0.0.1",
        "RAYDECK_ALLOWED_HOSTS": NAME,
        "RAYDECK_WEB_WORKERS": "1",
    }
    shared = ["--redis-url", redis_server.url, "--state-dir", str(short_dir / "state")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running([RAYDECK, "projector", *shared], short_dir, name="projector"))
        web = stack.enter_context(running([RAYDECK, "web", "--port", "0", *shared], short_dir, environment, name="web"))
        proxy = stack.enter_context(proxy_to(short_dir, int(web.ready["url"].rpartition(":")[2])))
        assert proxy.get("/healthz")[0] == 200
        status, headers, body = proxy.get("/login")
        assert status == 200
        assert b"<form" in body
        assert "; Secure" in headers["set-cookie"]
        assert headers["set-cookie"].startswith("__Host-")
        assert headers["strict-transport-security"].startswith("max-age=")
        assert proxy.get("/", headers={"Accept": "text/html"})[0] in {302, 303, 307}
