"""Which commit a raylet's Ray was built from, as its own package says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.sources.ray_install import ray_commit

COMMIT = "b7f4259e944bf6959f721b106adc366ddfa0c356"
PID = 10


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The ray package, as a raylet in a container sees it: its root is another one."""
    program = tmp_path / "root" / "lib" / "ray" / "core" / "src" / "ray" / "raylet" / "raylet"
    program.parent.mkdir(parents=True)
    (tmp_path / str(PID)).mkdir()
    (tmp_path / str(PID) / "root").symlink_to(tmp_path / "root")
    (tmp_path / str(PID) / "exe").symlink_to("/lib/ray/core/src/ray/raylet/raylet")
    return tmp_path / "root" / "lib" / "ray"


def test_the_commit_is_read_from_the_package_beside_the_raylet(package: Path, tmp_path: Path) -> None:
    (package / "_version.py").write_text(f'# Replaced when building.\ncommit = "{COMMIT}"\nversion = "2.60.0"\n')

    assert ray_commit(str(tmp_path), PID) == COMMIT


@pytest.mark.parametrize(
    "text", ['commit = "{{RAY_COMMIT_SHA}}"', "version = '2.60.0'", "", 'commit = "<script>"', "#" * 5000 + f'\ncommit = "{COMMIT}"']
)
def test_a_commit_that_is_not_said_is_unknown(package: Path, tmp_path: Path, text: str) -> None:
    (package / "_version.py").write_text(text)

    assert ray_commit(str(tmp_path), PID) is None


def test_what_is_no_raylet_of_ours_to_look_at_is_unknown_and_a_pipe_is_not_waited_for(package: Path, tmp_path: Path) -> None:
    assert ray_commit(str(tmp_path), PID) is None
    os.mkfifo(package / "_version.py")
    assert ray_commit(str(tmp_path), PID) is None
    (tmp_path / str(PID) / "exe").unlink()
    (tmp_path / str(PID) / "exe").symlink_to("/bin/sleep")
    assert ray_commit(str(tmp_path), PID) is None
    assert ray_commit(str(tmp_path), PID + 1) is None
