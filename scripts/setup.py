"""Makes .venv what requirements.lock says, installs Raydeck into it in place, and brings the browser files.

Standard library only, run by the system's python3. Every step leaves a stamp: a second run does nothing and is instant.
    python3 scripts/setup.py            what `make run` needs
    python3 scripts/setup.py --tests    what the tests need too: chromium, nginx, ray[default] in an environment of its own
    python3 scripts/setup.py --tests --ray-versions    the oldest supported Ray too
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import browser_files  # noqa: E402 - found through the line above
import ray_environments  # noqa: E402
import system_tools  # noqa: E402

ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
PIP_INSTALL = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
STAMP = ENVIRONMENT / ".raydeck-setup.json"
LOCK = ROOT / "requirements.lock"
OLDEST_PYTHON = (3, 10)
NO_VENV = "Python cannot make a virtual environment here. On Debian and Ubuntu type: sudo apt-get install -y python3-venv python3-pip"


class SetupFailed(RuntimeError):
    """Set-up cannot go on; the message says why and what to type."""


def main(arguments: list[str]) -> int:
    try:
        _check_python()
        _make_environment()
        stamp = _read_stamp()
        _step(stamp, "lock", _hash(LOCK), "Installing what requirements.lock names", _install_lock)
        _step(stamp, "project", _hash(ROOT / "pyproject.toml"), "Installing Raydeck in place", _install_project)
        with_tests = "--tests" in arguments
        if browser_files.ensure(ROOT, with_tests=with_tests):
            print("Browser files are in static/vendor.", flush=True)
        if with_tests:
            system_tools.ensure_chromium()
            system_tools.ensure_nginx(ROOT)
            system_tools.ensure_openssl()
            for name in ray_environments.IN_VERSION_TESTS if "--ray-versions" in arguments else ray_environments.IN_TESTS:
                ray_environments.ensure(ROOT, name)
    except (SetupFailed, browser_files.CannotFetch, system_tools.Missing, ray_environments.CannotMake) as problem:
        print(f"\nset-up: {problem}", file=sys.stderr)
        return 1
    return 0


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        here = sys.version.split()[0]
        raise SetupFailed(f"Raydeck needs Python 3.10 or newer; this is {here}. Type: make PYTHON=/path/to/a/newer/python3 ...")


def _make_environment() -> None:
    """A whole .venv is kept; one without a working python or pip is made again."""
    if PYTHON.exists() and _ask([str(PYTHON), "-m", "pip", "--version"]) == 0:
        return
    print("Making .venv ...", flush=True)
    if _ask([sys.executable, "-c", "import venv, ensurepip"]) != 0:
        raise SetupFailed(NO_VENV)
    _run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], NO_VENV)


def _step(stamp: dict[str, str], name: str, wanted: str, message: str, act: Callable[[], None]) -> None:
    if stamp.get(name) == wanted:
        return
    print(f"{message} ...", flush=True)
    act()
    stamp[name] = wanted
    STAMP.write_text(json.dumps(stamp), "utf-8")


def _install_lock() -> None:
    _run(
        [*PIP_INSTALL, "--require-hashes", "-r", str(LOCK)],
        "pip could not install the locked packages. Is a package index reachable from here?",
    )


def _install_project() -> None:
    """In place, built by the locked hatchling (no build environment of its own, nothing fetched)."""
    _run([*PIP_INSTALL, "--no-build-isolation", "-e", str(ROOT)], "Raydeck itself could not be installed into .venv")


def _read_stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ask(command: list[str]) -> int:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode


def _run(command: list[str], on_failure: str) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SetupFailed(on_failure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
