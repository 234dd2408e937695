"""What a profile's hosts counted, added up; the last few are held, because a picture of one is looked at from many sides."""

from __future__ import annotations

from collections import OrderedDict

from clusterstate.profiles import MEMORY, Profiles
from clusterstate.stacks import BYTES, SAMPLES, Merging, Samples, unpack
from webapp import background
from webapp.profiling.standing import ProfileStanding

MOST_HELD = 8
MOST_STACKS_HELD = 400_000
"""In all, some 100 MB."""


class HeldSamples:
    """The samples of profiles that were shown last, in this process."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Samples] = OrderedDict()

    def of(self, profiles: Profiles, standing: ProfileStanding) -> Samples:
        """Of all hosts of a profile that has ended. Raises Unreadable."""
        name = f"{standing.profile.cluster}/{standing.profile.profile_id}"
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        packed = [profiles.packed(host.asked) for host in standing.hosts if host.has_told]
        found = background.run(lambda: _sum(packed, BYTES if standing.profile.kind == MEMORY else SAMPLES))
        if standing.is_over:
            self._hold(name, found)
        return found

    def _hold(self, name: str, samples: Samples) -> None:
        self._held[name] = samples
        while len(self._held) > 1 and (
            len(self._held) > MOST_HELD or sum(len(one.stacks) for one in self._held.values()) > MOST_STACKS_HELD
        ):
            self._held.popitem(last=False)


def _sum(packed: list[bytes], unit: str) -> Samples:
    if len(packed) == 1:
        return unpack(packed[0])
    merging = Merging(unit)
    for one in packed:
        merging.add_samples(unpack(one))
    return merging.samples()
