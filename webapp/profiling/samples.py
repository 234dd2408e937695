"""What a profile's hosts counted, added up; the last few are held, because a picture of one is looked at from many sides."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from clusterstate.profiles import Asked, Profile, Profiles
from clusterstate.stacks import MOST_NAME, Merging, Samples, unpack
from webapp import background
from webapp.profiling import kinds
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
        found = _sum(profiles, standing)
        if standing.is_over:
            self._hold(name, found)
        return found

    def _hold(self, name: str, samples: Samples) -> None:
        self._held[name] = samples
        while len(self._held) > 1 and (
            len(self._held) > MOST_HELD or sum(len(one.stacks) for one in self._held.values()) > MOST_STACKS_HELD
        ):
            self._held.popitem(last=False)


def _sum(profiles: Profiles, standing: ProfileStanding) -> Samples:
    """One host after the other: what each told is held for as long as it is added."""
    profile = standing.profile
    told = [host.asked for host in standing.hosts if host.has_told]
    if len(told) == 1:
        alone = profiles.packed(told[0])
        return background.run(lambda: named(unpack(alone), profile, told[0]))
    merging = Merging(kinds.BY_NAME[profile.kind].unit)
    for asked in told:
        _add(merging, profile, asked, profiles.packed(asked))
    return background.run(merging.samples)


def _add(merging: Merging, profile: Profile, asked: Asked, packed: bytes) -> None:
    background.run(lambda: merging.add_samples(named(unpack(packed), profile, asked)))


def named(samples: Samples, profile: Profile, asked: Asked) -> Samples:
    """With processes called as people know them. Hosts have equal pids: where several were asked, the host is part of the name."""
    names = {target.pid: target.label for target in (profile.targets[place] for place in asked.targets if place < len(profile.targets))}
    of_host = f" on {asked.host}" if len({one.host for one in profile.asked}) > 1 else ""

    def name(pid: int) -> str:
        number = f"process {pid}{of_host}"
        return f"{names[pid][: MOST_NAME - len(number) - 3]} ({number})" if pid in names else number

    threads = tuple(msgspec.structs.replace(thread, process=name(thread.pid)) for thread in samples.threads)
    return msgspec.structs.replace(samples, threads=threads)
