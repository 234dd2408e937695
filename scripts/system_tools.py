"""Finds the programs that only tests and screenshots need (chromium, nginx, openssl), and brings them where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
APT_LIMIT_S = 900


class Missing(RuntimeError):
    """A program is missing; the message is the one line to type."""


def find_chromium() -> str | None:
    """The chromium of $CHROMIUM or PATH."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if os.access(named, os.X_OK) else None
    return next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)


def find_nginx(root: Path) -> str | None:
    """The nginx of PATH (the system's own folders too: a user's PATH often lacks sbin), or the one that set-up unpacked."""
    own = root / ".tools" / "nginx" / "usr" / "sbin"
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(own)]))


def ensure_chromium() -> str:
    """The path of chromium, installed with apt when this is root. Raises Missing."""
    found = find_chromium()
    if found:
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing chromium for the browser tests (apt-get) ...", flush=True)
        _apt("update", "-q")
        _apt("install", "-y", "-q", "--no-install-recommends", "chromium")
        found = find_chromium()
    if not found:
        raise Missing("The browser tests need chromium. Type: sudo apt-get install -y chromium   (or set CHROMIUM to one)")
    return found


def ensure_nginx(root: Path) -> str:
    """The path of nginx. Where it is missing its Debian package is unpacked below .tools: installing it would start a server."""
    found = find_nginx(root)
    if not found and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        print("Unpacking nginx for the proxy test (apt-get download) ...", flush=True)
        _unpack_nginx(root / ".tools" / "nginx")
        found = find_nginx(root)
    if not found or subprocess.run([found, "-v"], capture_output=True, check=False).returncode:
        raise Missing("The proxy test needs nginx. Type: sudo apt-get install -y nginx")
    return found


def ensure_openssl() -> None:
    """The certificates of the TLS tests are made with it."""
    if not shutil.which("openssl") and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt("update", "-q")
        _apt("install", "-y", "-q", "--no-install-recommends", "openssl")
    if not shutil.which("openssl"):
        raise Missing("The TLS tests need openssl. Type: sudo apt-get install -y openssl")


def _unpack_nginx(target: Path) -> None:
    if os.geteuid() == 0:
        _apt("update", "-q")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="raydeck-apt-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - apt downloads as a user of its own, which must be able to enter
        _apt("download", "-q", "nginx", cwd=folder)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(target)], check=False, timeout=APT_LIMIT_S)


def _apt(*arguments: str, cwd: str | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", *arguments], check=False, env=environment, cwd=cwd, timeout=APT_LIMIT_S, stdout=subprocess.DEVNULL)
