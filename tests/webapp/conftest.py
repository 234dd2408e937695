"""The web app over a built cluster: real Redis, real journal, real index. Nothing listens; requests go in by WSGI."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.test import TestResponse

from clusterstate import paths
from clusterstate.journal import Journal
from clusterstate.settings import Settings
from clusterstate.store.connection import connect
from tests.built_cluster import BuiltCluster
from webapp.app import create_app

HOST = "127.0.0.1:8270"
PASSWORDS = {"vera": "vera's password", "otto": "otto's password", "ada": "ada's password"}
ROLES = {"vera": "viewer", "otto": "operator", "ada": "admin"}


class CompiledOnce(BytecodeCache):
    """Templates as they were compiled for the first app: compiling them anew for each takes longer than most tests."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, CodeType]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        checksum, code = self._kept.get(bucket.key, (None, None))
        if checksum == bucket.checksum:
            bucket.code = code

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._kept[bucket.key] = bucket.checksum, bucket.code


COMPILED = CompiledOnce()


@dataclass
class Clock:
    """The app's time, moved by hand. Starts now, because Redis and the index use the real one."""

    at: float

    def __call__(self) -> float:
        return self.at


@dataclass
class Person:
    """A browser, or a program with a token when `headers` say so."""

    client: FlaskClient
    headers: dict[str, str] = field(default_factory=dict)
    prefix: str = ""

    def get(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        return self.open("GET", path, headers, **more)

    def open(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        base = {"Host": HOST, **self.headers, **(headers or {})}
        return self.client.open(self.prefix + path, method=method, headers=base, **more)

    def page(self, path: str) -> TestResponse:
        return self.get(path, {"Accept": "text/html"})

    def fragment(self, path: str, headers: dict[str, str] | None = None) -> TestResponse:
        asked = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#table", "Accept": "text/html"}
        return self.get(path, {**asked, **(headers or {})})

    def post(self, path: str, data: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> TestResponse:
        """A form of ours, as a browser sends it."""
        sent = {"csrf_token": self.csrf_token(), **(data or {})}
        return self.open("POST", path, {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin", **(headers or {})}, data=sent)

    def csrf_token(self) -> str:
        """From a form that this person can see."""
        return token_in(self.page("/account").text + self.page("/login").text)

    def sign_in(self, name: str) -> Person:
        answer = self.post("/login", {"name": name, "password": PASSWORDS[name]})
        assert answer.status_code == 303, answer.text
        return self

    @property
    def cookie(self) -> str | None:
        """The sign-in id of this browser."""
        for cookie in (self.client._cookies or {}).values():
            if "raydeck-8270" in cookie.key:
                return cookie.value
        return None


def token_in(page: str) -> str:
    """The form token of a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    return found[1] if found else ""


@pytest.fixture(scope="session")
def journal_with_users() -> Iterator[Path]:
    """Made once: hashing passwords and syncing the disk take most of a test's time otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="rdj"))
    made = Journal(folder / "made.db")
    for name, role in ROLES.items():
        made.add_user(name, PASSWORDS[name], role, "cli:test", time.time())
    made.copy_to(folder / "journal.db")
    made.close()
    yield folder / "journal.db"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def journal(request: pytest.FixtureRequest, settings: Settings, journal_with_users: Path) -> Iterator[Journal]:
    """Empty, unless the test has `users`."""
    path = paths.journal_file(settings.state_dir)
    if "users" in request.fixturenames:
        shutil.copy(journal_with_users, path)
    opened = Journal(path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def make_app(settings: Settings, journal: Journal, clock: Clock) -> Callable[..., Flask]:
    """Makes an app over the same Redis, journal and index, with some settings changed."""

    def make(*, redis_url: str | None = None, routes: Any = None, **changes: Any) -> Flask:
        changed = replace(settings, **changes)
        reached = replace(changed, redis_url=redis_url) if redis_url else changed
        more = {} if routes is None else {"routes": routes}
        app = create_app(
            changed,
            index_dir=paths.index_dir(settings.state_dir),
            journal=journal,
            redis_connect=lambda: connect(reached, timeout_s=1.0),
            clock=clock,
            **more,
        )
        app.jinja_env.bytecode_cache = COMPILED
        return app

    return make


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def cluster(redis_client: redis.Redis, settings: Settings) -> BuiltCluster:
    """A cluster called demo, without rows yet."""
    return BuiltCluster(redis_client, settings)


@pytest.fixture
def users(journal: Journal) -> Journal:
    """vera (viewer), otto (operator) and ada (admin) may sign in."""
    return journal


@pytest.fixture
def anybody(app: Flask) -> Person:
    """A browser that nobody signed in with."""
    return Person(app.test_client())


@pytest.fixture
def vera(app: Flask, users: Journal) -> Person:
    """A viewer's browser."""
    return Person(app.test_client()).sign_in("vera")


@pytest.fixture
def otto(app: Flask, users: Journal) -> Person:
    """An operator's browser."""
    return Person(app.test_client()).sign_in("otto")


@pytest.fixture
def ada(app: Flask, users: Journal) -> Person:
    """An admin's browser."""
    return Person(app.test_client()).sign_in("ada")


def program(app: Flask, journal: Journal, user: str, role: str, now: float) -> Person:
    """A program with an API token."""
    token = journal.new_token(user, "test", role, now)
    return Person(app.test_client(use_cookies=False), {"Authorization": f"Bearer {token}"})


@pytest.fixture
def viewers_program(app: Flask, users: Journal, clock: Clock) -> Person:
    return program(app, users, "vera", "viewer", clock())


def with_cookie(app: Flask, sign_in_id: str | None) -> Person:
    """Another browser that has got hold of this id."""
    return Person(app.test_client(use_cookies=False), {"Cookie": f"raydeck-8270={sign_in_id}"})
