"""What a person chose for this browser: theme and time zone, in cookies that say nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

from flask import Response, request

from clusterstate.query import BadQuery
from webapp.security import Cookies

THEMES = ("system", "light", "dark")
BROWSER = "browser"
"""The time zone of the browser: times are sent in UTC and rewritten there."""
THEME_COOKIE = "raydeck-theme"
ZONE_COOKIE = "raydeck-tz"
KEPT_S = 365 * 24 * 3600


URL_THEMES = ("light", "dark")
"""What `?theme=` may say, as of Ray's own dashboard: for who shows a page within another. Links keep it."""


@dataclass(frozen=True)
class Preferences:
    theme: str = "system"
    time_zone: str = BROWSER  # "browser", "UTC" or any IANA zone


@cache
def time_zones() -> tuple[str, ...]:
    """Every zone that can be chosen, after `browser` and `UTC`."""
    return (BROWSER, "UTC", *sorted(available_timezones() - {"UTC", "localtime", "Factory"}))


@cache
def _known_zones() -> frozenset[str]:
    return frozenset(time_zones())


def url_theme() -> str | None:
    """The theme that the URL asks for."""
    theme = request.args.get("theme")
    return theme if theme in URL_THEMES else None


def check_url_theme() -> None:
    """Raises BadQuery for a theme that there is not."""
    if request.args.get("theme", "light") not in URL_THEMES:
        raise BadQuery(f"theme is {request.args['theme'][:32]!r}; it must be {' or '.join(URL_THEMES)}.")


def preferences() -> Preferences:
    """As the URL and this browser say; what the browser says wrong counts as not chosen."""
    theme, zone = url_theme() or request.cookies.get(THEME_COOKIE), request.cookies.get(ZONE_COOKIE)
    return Preferences(theme if theme in THEMES else "system", zone if zone is not None and zone in _known_zones() else BROWSER)


def save_preferences(response: Response, theme: str | None, time_zone: str | None) -> Response:
    """Keeps what was chosen; None leaves it. Raises BadQuery."""
    if theme is not None and theme not in THEMES:
        raise BadQuery(f"theme must be one of {', '.join(THEMES)}.")
    if time_zone is not None and time_zone not in _known_zones():
        raise BadQuery("time_zone must be browser, UTC or a zone such as Europe/Berlin.")
    for name, value in ((THEME_COOKIE, theme), (ZONE_COOKIE, time_zone)):
        if value is not None:
            Cookies.of_request().set(response, name, value, KEPT_S)
    return response
