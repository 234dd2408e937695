"""Links to a profile that is shown another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from webapp.flame.asking import FLAME, SANDWICH, AskedFlame

To = Callable[..., str]
"""Makes a link of a profile's page out of arguments, of which None are left out."""
_PLACEHOLDER = "5ca1ab1e5ca1ab1e"


@dataclass(frozen=True)
class Links:
    """All of one page."""

    to: To
    asked: AskedFlame

    def but(self, **other: Any) -> str:
        """The same with something else."""
        return self.to(**self.asked.arguments(**other))

    def zoom(self, key: str) -> str:
        """To a frame that gets the whole width. Thousands are made: the rest of the link is made once."""
        return self.but(at="") if not key else self._zoom[0] + key + self._zoom[1]

    def sandwich(self, key: str) -> str:
        """To the callers and callees of a function."""
        return self._sandwich[0] + key + self._sandwich[1]

    def search(self, text: str) -> str:
        return self.but(view=FLAME, q=text, at="", function="", sort="")

    @cached_property
    def _zoom(self) -> tuple[str, str]:
        return _split(self.but(at=_PLACEHOLDER))

    @cached_property
    def _sandwich(self) -> tuple[str, str]:
        return _split(self.but(view=SANDWICH, function=_PLACEHOLDER, at="", sort=""))

    @property
    def action(self) -> str:
        """Of the form of the search."""
        return urlsplit(self.to()).path

    @property
    def carried(self) -> list[tuple[str, str]]:
        """What the form must carry along."""
        return parse_qsl(urlsplit(self.but(q=None, thread=None, at=None, view=None, function=None, sort=None)).query)


def _split(link: str) -> tuple[str, str]:
    before, _, after = link.partition(_PLACEHOLDER)
    return before, after
