"""The cluster that runs on this machine is found as Ray's own clients find it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workers.discovery import given_address, is_gcs_address, running_here


def note(folder: Path, text: str) -> dict[str, str]:
    """An environment in which Ray noted this as its newest cluster."""
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(text)
    return {"RAY_TMPDIR": str(folder)}


def test_a_cluster_that_listens_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        address = f"127.0.0.1:{gcs.getsockname()[1]}"

        assert running_here(note(tmp_path, address + "\n")) == address


def test_a_note_that_a_killed_cluster_left_is_not_believed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"

    assert running_here(note(tmp_path, address)) == ""


def test_without_a_note_there_is_no_cluster(tmp_path: Path) -> None:
    assert running_here({"RAY_TMPDIR": str(tmp_path)}) == ""


def test_the_setting_goes_before_rays_own_variable() -> None:
    assert given_address("10.0.0.1:6379", {"RAY_ADDRESS": "10.0.0.2:6379"}) == "10.0.0.1:6379"
    assert given_address("", {"RAY_ADDRESS": "10.0.0.2:6379"}) == "10.0.0.2:6379"
    assert given_address("auto", {"RAY_ADDRESS": "auto"}) == ""


@pytest.mark.parametrize(
    "text", ["", "auto", "ray://10.0.0.1:10001", "http://10.0.0.1:8265", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", ":1"]
)
def test_what_names_no_gcs_is_no_address(text: str) -> None:
    assert not is_gcs_address(text)
