"""People and programs who keep looking while something is killed: what they were answered, and how old it was."""

from __future__ import annotations

import http.client
import http.cookiejar
import itertools
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.running import Running

EACH_S = 0.15
PAGES = ("", "actors", "jobs", "nodes", "workers", "placement-groups", "info")
TABLES = ("actors", "nodes", "jobs", "workers", "placement-groups")
NO_ANSWER = 0


@dataclass(frozen=True)
class Look:
    at: float  # Unix seconds
    path: str
    status: int  # NO_ANSWER: the connection was refused or broke off
    age_s: float | None = None
    stale: bool | None = None


class Person:
    """Signed in with the one-time link, as on the first run."""

    def __init__(self, running: Running, link: str | None = None) -> None:
        self.url = running.url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        link = link or str(running.ready["sign_in_url"])
        status, page = self.open(link.removeprefix(self.url))
        assert status == 200, status
        [csrf_token, *_] = re.findall(r'name="csrf_token" value="([^"]+)"', page)
        token = link.rpartition("token=")[2]
        status, _ = self.open("/login", {"token": token, "csrf_token": csrf_token})
        assert status == 200, status

    def open(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        """Status (redirects followed) and body; NO_ANSWER when there was none."""
        data = None if form is None else urlencode(form).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"Referer": self.url + path})
        try:
            with self._opener.open(request, timeout=10) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return NO_ANSWER, ""

    def is_signed_in(self) -> bool:
        """Whether the own account is shown, and not the sign-in page that one is sent to else."""
        status, body = self.open("/account")
        return status == 200 and 'name="password"' not in body


@dataclass
class Onlookers:
    """A person going through the pages and a program reading the tables, all the time."""

    running: Running
    person: Person
    looks: list[Look] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def go_through_pages(self) -> None:
        self._repeat([f"/c/{self.running.ready['cluster']}/{page}" for page in PAGES], self._look_at_page)

    def read_tables(self) -> None:
        self._repeat([f"/c/{self.running.ready['cluster']}/{table}.json?limit=5" for table in TABLES], self._read_table)

    def statuses(self) -> dict[int, int]:
        """Status → how often."""
        return {status: sum(look.status == status for look in self.looks) for status in {look.status for look in self.looks}}

    def failures(self) -> list[tuple[str, int]]:
        """(path, status) of every answer that was not a page."""
        return sorted({(look.path, look.status) for look in self.looks if look.status not in (200, NO_ANSWER)})

    def longest_silence_s(self) -> float:
        """How long at most there was no answer to anything."""
        answered = sorted(look.at for look in self.looks if look.status != NO_ANSWER)
        return max((later - earlier for earlier, later in itertools.pairwise(answered)), default=0.0)

    def greatest_age_s(self) -> float:
        return max((look.age_s for look in self.looks if look.age_s is not None), default=0.0)

    def _repeat(self, paths: list[str], look: object) -> None:
        assert callable(look)
        while not self._stop.is_set():
            for path in paths:
                if not self._stop.wait(EACH_S):
                    self.looks.append(look(path))

    def _look_at_page(self, path: str) -> Look:
        status, _ = self.person.open(path)
        return Look(time.time(), path, status)

    def _read_table(self, path: str) -> Look:
        try:
            status, body = self.running.get(path)
        except (OSError, http.client.HTTPException):
            return Look(time.time(), path, NO_ANSWER)
        if status != 200:
            return Look(time.time(), path, status)
        answer = json.loads(body)
        return Look(time.time(), path, status, answer["age_s"], answer["stale"])


@contextmanager
def looking_on(running: Running, person: Person) -> Iterator[Onlookers]:
    onlookers = Onlookers(running, person)
    threads = [threading.Thread(target=work, daemon=True) for work in (onlookers.go_through_pages, onlookers.read_tables)]
    for thread in threads:
        thread.start()
    try:
        yield onlookers
    finally:
        onlookers._stop.set()
        for thread in threads:
            thread.join(15)
