"""The menu: which pages there are, where they stand, which key goes there."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.scope import has_page


@dataclass(frozen=True)
class Entry:
    """A page of the menu. `letter` follows g on the keyboard; `within` are endpoints of pages below it."""

    endpoint: str
    label: str
    letter: str
    within: tuple[str, ...] = ()

    def is_current(self, endpoint: str | None) -> bool:
        """Whether a page belongs to this entry."""
        return endpoint == self.endpoint or endpoint in self.within


MENU: tuple[Entry, ...] = (
    Entry("overview", "Overview", "o"),
    Entry("jobs", "Jobs", "j", ("job", "submit_form", "submit_job", "stop_form")),
    Entry("tasks", "Tasks", "t", ("task", "durations")),
    Entry("timeline", "Timeline", "l"),
    Entry("actors", "Actors", "a", ("actor",)),
    Entry("nodes", "Nodes", "n", ("node",)),
    Entry("workers", "Workers", "w", ("worker",)),
    Entry("placement_groups", "Placement groups", "p", ("placement_group",)),
    Entry("logs", "Logs", "f", ("log", "log_levels", "log_of", "log_search", "log_errors", "log_error")),
    Entry("profiles", "Profiles", "q", ("profile", "new_profile", "start_profile", "compare_profiles")),
    Entry("status", "Ray status", "r"),
    Entry("cluster_info", "Cluster", "c"),
)
PARENTS: dict[str, tuple[str, str]] = {page: (entry.endpoint, entry.label) for entry in MENU for page in entry.within}
"""Endpoint of a page about one thing → the list it belongs to, for breadcrumbs."""


ELSEWHERE: tuple[tuple[str, str], ...] = (
    ("Ray's documentation", "https://docs.ray.io/en/latest/"),
    ("Report a problem of Ray", "https://github.com/ray-project/ray/issues"),
)
"""Links that leave this site, followed by people only: nothing is loaded from there."""


def list_of(endpoint: str | None) -> str:
    """The page of the menu that a page belongs to: every session of every cluster has one."""
    return next((entry.endpoint for entry in MENU if entry.is_current(endpoint)), MENU[0].endpoint)


def menu() -> list[Entry]:
    """The entries whose pages exist."""
    return [entry for entry in MENU if has_page(entry.endpoint)]


def parent_of(endpoint: str | None) -> tuple[str, str] | None:
    """(endpoint, label) of the list a page belongs to."""
    return PARENTS.get(endpoint or "")
