"""The demo's folder and environment, and which processes count as its own."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from clusterstate.paths import BadFolder as FolderNotPrivate
from workers.demo import leftovers
from workers.demo.drivers import Driver
from workers.demo.environment import BadFolder, demo_environment, joining_environment, prepare_folder, write_private

HOLD = "import sys; file = open(sys.argv[1], sys.argv[2]); print('open', flush=True); sys.stdin.read()"


@pytest.fixture
def folder(short_dir: Path) -> Path:
    return short_dir / "demo"


def holding(path: Path, mode: str) -> subprocess.Popen[str]:
    """A process with a file open, in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_a_process_that_writes_below_the_folder_is_swept_and_one_that_reads_is_not(folder: Path) -> None:
    prepare_folder(folder)
    (folder / "log" / "worker.log").touch()
    writer, reader = holding(folder / "log" / "worker.log", "a"), holding(folder / "log" / "worker.log", "r")
    beside = holding(folder.parent / "demo.log", "a")
    assert [one.pid for one in leftovers.find(folder)] == [writer.pid]
    assert leftovers.sweep(folder) == 1
    assert writer.wait(5) != 0
    assert reader.poll() is None
    assert beside.poll() is None
    for process in (reader, beside):
        process.communicate("")
    writer.communicate()


def test_a_shell_beside_a_job_is_swept_and_a_users_driver_is_not(folder: Path) -> None:
    prepare_folder(folder)
    ours, joined = (
        subprocess.Popen(["sleep", "60"], start_new_session=True, cwd="/", env={"PATH": "/usr/bin:/bin", **variables})
        for variables in (demo_environment(folder, False, {}), {"HOME": "/root", **joining_environment(folder, False)})
    )
    try:
        assert [one.pid for one in leftovers.find(folder)] == [ours.pid]
    finally:
        for process in (ours, joined):
            process.kill()
            process.wait(5)


def test_what_a_killed_workload_leaves_goes_with_the_folder(folder: Path) -> None:
    prepare_folder(folder)
    made = subprocess.run(
        [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"],
        env=demo_environment(folder, False, {}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert Path(made).parent == folder / "tmp"
    prepare_folder(folder)
    assert not Path(made).exists()


def test_the_sweep_spares_itself(folder: Path) -> None:
    prepare_folder(folder)
    leftovers.note_keeper(folder)
    with (folder / "log" / "own.log").open("w"):
        assert leftovers.find(folder) == []


def test_a_folder_that_is_too_long_or_not_private_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match="35 characters"):
        prepare_folder(Path("/tmp") / ("x" * 40))
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(FolderNotPrivate):
        prepare_folder(folder)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(FolderNotPrivate):
        prepare_folder(folder)


def test_old_sessions_are_removed(folder: Path) -> None:
    prepare_folder(folder)
    (folder / "ray" / "session_old").mkdir(parents=True)
    prepare_folder(folder)
    assert not (folder / "ray").exists()


def test_nothing_of_the_users_ray_reaches_the_demo(folder: Path) -> None:
    given = {"RAY_ADDRESS": "prod:6379", "RAY_AUTH_TOKEN": "secret", "RAYDECK_REDIS_URL": "redis://x", "HOME": "/home/ada", "LANG": "C"}
    environment = demo_environment(folder, True, given)
    assert "RAY_ADDRESS" not in environment
    assert "RAY_AUTH_TOKEN" not in environment
    assert "RAYDECK_REDIS_URL" not in environment
    assert environment["HOME"] == str(folder / "home")
    assert environment["LANG"] == "C"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize("token", [True, False])
def test_the_way_to_join_says_whether_a_token_is_needed(folder: Path, token: bool) -> None:
    joining = joining_environment(folder, token)
    assert joining["RAY_AUTH_MODE"] == ("token" if token else "disabled")
    assert ("RAY_AUTH_TOKEN_PATH" in joining) is token
    assert joining["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_a_ready_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "ready.json").symlink_to(tmp_path / "elsewhere")
    write_private(tmp_path / "ready.json", "{}")
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / "ready.json").read_text() == "{}"
    assert not (tmp_path / "ready.json").is_symlink()


def test_a_driver_that_keeps_ending_is_started_ever_less_often(folder: Path) -> None:
    prepare_folder(folder)
    driver = Driver("no.such.module")
    starts: list[float] = []
    now = 0.0
    while now < 200:
        before = driver.started_at
        driver.tend(now, 0.0, {"PATH": "/usr/bin:/bin"}, folder)
        if driver.process is not None:
            if driver.started_at != before or not starts:
                starts.append(now)
            driver.process.wait(10)
        now += 1.0
    assert 4 <= len(starts) <= 10
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == sorted(pauses)
