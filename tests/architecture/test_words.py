"""What no file says: paths of one machine, package indexes, and words that are not Ray's."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.repository import PACKAGES, modules, read, texts

# Written in pieces, so that this file does not name them either.
PACKAGE_HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "registry.npm" + "js.org",
    "deb." + "debian.org",
    "unpkg" + ".com",
    "jsdelivr" + ".net",
]
MACHINE_FOLDERS = ["/" + "work/", "/" + "root/"]


def test_no_file_names_a_package_index() -> None:
    found = [(str(path), host) for path, text in texts() for host in PACKAGE_HOSTS if host in text]
    assert not found


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        (str(path), line.strip()[:100])
        for path, text in texts()
        for line in text.splitlines()
        if any(re.search(rf"(^|[^A-Za-z0-9_.-]){folder}[A-Za-z.]", line) for folder in MACHINE_FOLDERS)
    ]
    assert not found


def test_no_unfinished_work_is_left_in_the_code() -> None:
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error|pytest\.sk" r"ip|pragma: no c" r"over)\b")
    found = [
        (str(path), line.strip())
        for path in modules(*PACKAGES, "tests", "scripts")
        for line in read(path).splitlines()
        if marks.search(line)
    ]
    assert not found


def test_the_changelog_speaks_of_the_version_that_is_built() -> None:
    version = re.search(r'^version = "(.+)"$', read("pyproject.toml"), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in read(Path("CHANGELOG.md"))
