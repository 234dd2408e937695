"""What the processes of a profile of many are called."""

from __future__ import annotations

import msgspec

from clusterstate.profiles import MERGED, Asked, Profile, Target
from clusterstate.stacks import MOST_NAME, Merging
from tests.webapp.flame.profiles import profile
from webapp.flame.tree import BY_PROCESS, Shape, grow
from webapp.profiling.samples import named


def of_hosts(*hosts: str, label: str = "rank") -> Profile:
    return Profile(
        profile_id="ab" * 12,
        cluster="default",
        session="session",
        kind=MERGED,
        who="otto",
        asked_at=1.0,
        about="job",
        targets=tuple(
            Target(node_id=host, pid=7, started_ms=1, kind="WORKER", label=f"{label} {place}") for place, host in enumerate(hosts)
        ),
        asked=tuple(Asked(host, (place,)) for place, host in enumerate(hosts)),
    )


def processes_of(whole: Profile) -> list[str]:
    merging = Merging()
    for asked in whole.asked:
        merging.add_samples(named(profile("main 1"), whole, asked))
    tree = grow(merging.samples(), Shape(by=BY_PROCESS))
    return [tree.labels[tree.label[node]].name for node in tree.children[0]]


def test_equal_pids_of_two_hosts_are_two_processes() -> None:
    assert processes_of(of_hosts("one", "two")) == ["rank 0 (process 7 on one)", "rank 1 (process 7 on two)"]


def test_where_one_host_was_asked_it_is_not_named() -> None:
    assert processes_of(of_hosts("one")) == ["rank 0 (process 7)"]


def test_a_process_below_is_known_by_its_number() -> None:
    whole = of_hosts("one")
    elsewhere = msgspec.structs.replace(whole, targets=(msgspec.structs.replace(whole.targets[0], pid=6),))
    assert processes_of(elsewhere) == ["process 7"]


def test_a_long_name_keeps_its_number() -> None:
    [name] = processes_of(of_hosts("one", label="x" * 2 * MOST_NAME))
    assert len(name) == MOST_NAME
    assert name.endswith("x (process 7)")
