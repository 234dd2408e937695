"""What came of a profile, as its page shows it: of samples a viewer, of stacks the threads or the groups of equal ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterstate.profiles import CENSUS, STACKS, Profile
from clusterstate.query import BadQuery
from clusterstate.stacks import Samples
from webapp import background
from webapp.flame.asking import AskedFlame, parse
from webapp.flame.comparing import DifferencePage, difference_page
from webapp.flame.formats import FORMATS, FileFormat
from webapp.flame.viewing import view
from webapp.parts import parts
from webapp.profiling.standing import ProfileStanding
from webapp.scope import href


@dataclass(frozen=True)
class Result:
    """What profiles/_detail.html includes, and what that may use as `viewer`."""

    template: str
    viewer: Any
    downloads: tuple[tuple[str, str], ...] = ()  # label and format


def result_of(standing: ProfileStanding, args: Mapping[str, str]) -> Result | None:
    """None while there is nothing to show. Raises BadQuery, Unreadable; may take a second."""
    if standing.profile.kind in {STACKS, CENSUS}:
        return None
    asked = parse(args)
    if not standing.is_over or not any(host.has_samples for host in standing.hosts):
        return None
    samples = samples_of(standing)
    profile_id = standing.profile.profile_id
    viewer = background.run(lambda: view(samples, asked, lambda **arguments: href("profile", profile_id=profile_id, **arguments)))
    return Result("profiles/_viewer.html", viewer, tuple((found.label, name) for name, found in FORMATS.items()))


def difference(before: ProfileStanding, after: ProfileStanding, asked: AskedFlame) -> DifferencePage:
    """The second as against the first. Raises BadQuery where they cannot be compared, Unreadable."""
    for one in (before, after):
        if not any(host.has_samples for host in one.hosts):
            raise BadQuery(f"The profile of {one.profile.about[:80]} has no samples: flame graphs and memory profiles can be compared.")
    first, second = samples_of(before), samples_of(after)
    ids = {"before": before.profile.profile_id, "after": after.profile.profile_id}
    return background.run(lambda: difference_page(first, second, asked, lambda **arguments: href("compare_profiles", **ids, **arguments)))


def samples_of(standing: ProfileStanding) -> Samples:
    """Of all hosts together. Raises Unreadable."""
    return parts().samples.of(parts().profiles, standing)


def as_file(standing: ProfileStanding, format: FileFormat, asked: AskedFlame) -> Iterator[bytes]:  # noqa: A002 - as the URL calls it
    """The samples in a format, in pieces. Raises Unreadable."""
    return format.write(samples_of(standing), asked, title_of(standing.profile))


def title_of(profile: Profile) -> str:
    """What it is called in files."""
    return f"{profile.kind} {profile.about}"
