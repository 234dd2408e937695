"""What the architecture tests read: the repository's own files, as git sees them."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("clusterstate", "workers", "webapp")
TEXT_SUFFIXES = frozenset(
    {".py", ".html", ".css", ".js", ".md", ".toml", ".yaml", ".yml", ".conf", ".json", ".lock", ".sh", ".txt", ".svg", ".service", ""}
)


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that is committed or would be: tracked, and untracked but not ignored. Relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(sorted(Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()))


def read(path: Path | str) -> str:
    return (ROOT / path).read_text("utf-8")


def texts() -> list[tuple[Path, str]]:
    """Every text file with its content."""
    return [(path, read(path)) for path in files() if path.suffix in TEXT_SUFFIXES]


def modules(*below: str) -> list[Path]:
    """Python files below the named folders, ours alone."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in below]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(read(path), str(path))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names
