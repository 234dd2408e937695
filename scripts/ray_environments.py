"""Environments that hold another install of Ray, laid over .venv: everything else in them is .venv's.

Raydeck speaks to a cluster through the cluster's own Ray version; the tests run it at both ends of the range and
beside `ray[default]`. A whole environment for each would be 500 MB; an overlay holds only what differs.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

FOLDER = ".venv-ray"
MINIMAL = "2.60-minimal"  # .venv itself
IN_TESTS = ("2.60-default",)
IN_VERSION_TESTS = ("2.60-default", "2.53-default", "2.53-minimal")
NAMES = (MINIMAL, *IN_VERSION_TESTS)


class CannotMake(RuntimeError):
    """An environment could not be made."""


def python(root: Path, name: str) -> Path:
    """The python of an environment, made by `make test` or `make test-versions`."""
    if name not in NAMES:
        raise ValueError(f"{name!r} is not one of {', '.join(NAMES)}")
    return (root / ".venv" if name == MINIMAL else root / FOLDER / name) / "bin" / "python"


def ensure(root: Path, name: str) -> None:
    """Make the environment unless it is there as its lock says. Raises CannotMake."""
    lock = root / f"requirements-ray-{name}.lock"
    wanted = hashlib.sha256(lock.read_bytes() + (root / "requirements.lock").read_bytes()).hexdigest()
    folder = root / FOLDER / name
    stamp = folder / ".raydeck-setup"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    print(f"Making {FOLDER}/{name} ...", flush=True)
    base = root / ".venv" / "bin" / "python"
    _run([str(base), "-m", "venv", "--clear", "--without-pip", str(folder)], name)
    own = folder / "bin" / "python"
    pip = [str(base), "-m", "pip", "--python", str(own), "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "--no-deps", "-r", str(lock)], name)
    # Only now: pip must not take what is in .venv for its own.
    _site_packages(own).joinpath("raydeck-base.pth").write_text(f"{_site_packages(base)}\n{root}\n", "utf-8")
    stamp.write_text(wanted, "utf-8")


def _site_packages(interpreter: Path) -> Path:
    asked = [str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())


def _run(command: list[str], name: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise CannotMake(f"The environment {FOLDER}/{name} could not be made; it is needed to test Raydeck on that install of Ray.")


if __name__ == "__main__":
    for wanted_name in sys.argv[1:]:
        ensure(Path(__file__).resolve().parent.parent, wanted_name)
