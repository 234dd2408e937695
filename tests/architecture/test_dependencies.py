"""What comes from outside: pinned, by hash, without addresses, and never committed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT, files, read

LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
LARGEST_FILE_BYTES = 600 * 1024


@pytest.mark.parametrize("name", [*LOCKS, "package-lock.json", "package.json", ".npmrc"])
def test_a_lock_holds_versions_and_hashes_but_no_address(name: str) -> None:
    assert "://" not in read(name)
    assert '"resolved"' not in read(name)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_python_package_has_one_version_and_a_hash(name: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", read(name), flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_the_lock_holds_every_package_that_the_project_names() -> None:
    named = re.findall(r'^    "([A-Za-z0-9._-]+)[><=\[]?', _section("dependencies = ["), re.MULTILINE)
    locked = {line.split("==")[0] for line in read("requirements.lock").splitlines() if "==" in line}
    assert named
    assert set(named) <= locked


def test_every_browser_package_is_pinned_and_has_its_integrity() -> None:
    wanted = json.loads(read("package.json"))
    locked = json.loads(read("package-lock.json"))["packages"]
    for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} is not pinned"
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all(entry["integrity"].startswith("sha512-") for name, entry in locked.items() if name)


def test_nothing_of_others_is_committed() -> None:
    foreign = [str(path) for path in files() if {"vendor", "node_modules"} & set(path.parts) or re.search(r"\.min\.(js|css)$", path.name)]
    assert not foreign
    large = [str(path) for path in files() if (ROOT / path).stat().st_size > LARGEST_FILE_BYTES]
    assert not large


def test_browser_files_are_the_ones_of_the_lock() -> None:
    vendor = ROOT / "static" / "vendor"
    record = json.loads((vendor / "VERSIONS.json").read_text("utf-8"))
    wanted = json.loads(read("package.json"))["dependencies"]
    assert record["versions"] == wanted
    assert sorted(record["files"]) == sorted(path.name for path in vendor.iterdir() if path != Path(vendor / "VERSIONS.json"))


def _section(start: str) -> str:
    text = read("pyproject.toml")
    begin = text.index(f"\n{start}")
    return text[begin : text.index("\n]", begin)]
