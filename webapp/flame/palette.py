"""Colours of what is saved as a file, where no style sheet of ours is: those of the light pages (static/css/profiles.css). Pure."""

from __future__ import annotations

PACKAGES = (
    "#c6bdff", "#fab68f", "#83dcc0", "#fcaec2", "#bbd28d", "#deb5f3",
    "#ecbf80", "#75dbdb", "#ffb0a6", "#9dd9a4", "#f1b0dd", "#d6c97f",
)  # fmt: skip
FILLS = {
    **{f"pkg-{place}": fill for place, fill in enumerate(PACKAGES)},
    "of-ray": "#92cdff",
    "of-stdlib": "#d3d9e3",
    "of-native": "#b4bdca",
    "of-thread": "#e3e7ee",
    "grown-1": "#fed2cc",
    "grown-2": "#f19f94",
    "grown-3": "#df695c",
    "shrunk-1": "#c9e2f7",
    "shrunk-2": "#89beeb",
    "shrunk-3": "#4b99d7",
    "same": "#e0e4eb",
}
GROUND, INK, FAINT = "#ffffff", "#16202e", "#4a5667"


def fill_of(look: str) -> str:
    """Of a box with these classes."""
    return FILLS.get(look.split(" ", 1)[0], FILLS["of-thread"])
