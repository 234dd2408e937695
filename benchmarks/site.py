"""Asking the Raydeck that is measured, one question after another."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from benchmarks.pages import Site

LIMIT_S = 30.0


@dataclass(frozen=True)
class Asked:
    """An answer, and how long it took to its last byte. Status 0: there was none."""

    status: int
    text: str
    seconds: float

    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def ask(site: Site, path: str) -> Asked:
    """GET. `path` is below the cluster's, unless it begins with a slash."""
    url = site.url.rstrip("/") + (path if path.startswith("/") else f"{site.base}/{path}")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {site.token}", "Accept": "text/html"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            return Asked(int(answer.status), answer.read().decode(), time.monotonic() - began)
    except urllib.error.HTTPError as error:
        return Asked(error.code, error.read().decode(errors="replace"), time.monotonic() - began)
    except OSError as error:
        return Asked(0, str(error), time.monotonic() - began)


def rows(site: Site, path: str) -> list[dict[str, Any]]:
    """Rows of a table's JSON; none when it does not answer."""
    answer = ask(site, path)
    return list(answer.content()["rows"]) if answer.status == 200 else []
