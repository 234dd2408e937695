"""Who may import whom: the contracts in pyproject.toml, and what a contract cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.architecture.repository import PACKAGES, ROOT, imported, modules, read, tree


def test_every_import_contract_is_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_model_needs_the_standard_library_alone() -> None:
    foreign = {
        (str(path), name)
        for path in modules("clusterstate")
        if path.parts[1] == "model"
        for name in imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("clusterstate.model")
    }
    assert not foreign


def test_setting_up_needs_the_standard_library_alone() -> None:
    own = {"browser_files", "ray_environments", "system_tools"}
    foreign = {
        (name, imported_name)
        for name in ("setup", *own)
        for imported_name in imported(Path("scripts") / f"{name}.py")
        if imported_name.split(".")[0] not in sys.stdlib_module_names and imported_name not in own
    }
    assert not foreign


def test_every_module_says_what_it_answers_for() -> None:
    silent = [str(path) for path in modules(*PACKAGES, "scripts", "tests", "benchmarks") if not _docstring(path)]
    assert not silent


def _docstring(path: Path) -> bool:
    return not tree(path).body or bool(ast.get_docstring(tree(path)))


def test_sqlite_is_opened_in_the_store_the_journal_and_the_backup_alone() -> None:
    opening = [str(path) for path in modules("clusterstate", "workers", "webapp") if "sqlite3.connect(" in read(path)]
    allowed = ("clusterstate/store/", "clusterstate/journal/", "clusterstate/backup.py")
    assert opening
    assert [path for path in opening if not path.startswith(allowed)] == []
