"""How many pages follow logs: each holds a connection for as long as it is open."""

from __future__ import annotations

MOST_OF_ONE = 20
MOST_IN_ALL = 250
"""Of one process."""


class TooManyFollow(Exception):
    """No further page can follow now; the message says why."""


class Followers:
    """Who follows now, in this process."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def come(self, who: str) -> None:
        """One more. Raises TooManyFollow."""
        if self._counts.get(who, 0) >= MOST_OF_ONE:
            raise TooManyFollow(f"You follow {MOST_OF_ONE} files already. Close one of those pages.")
        if sum(self._counts.values()) >= MOST_IN_ALL:
            raise TooManyFollow(f"{MOST_IN_ALL} pages follow logs already. Try again later.")
        self._counts[who] = self._counts.get(who, 0) + 1

    def leave(self, who: str) -> None:
        """One of those who came goes."""
        self._counts[who] -= 1
        if not self._counts[who]:
            del self._counts[who]
