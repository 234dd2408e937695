"""The wheel, installed away from the checkout: it carries all it needs and notices when it was mixed up with another program."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
WHERE = "import clusterstate, json, webapp, workers; print(json.dumps([webapp.__file__, workers.__file__, clusterstate.__file__]))"
USAGE, WRONG_CONFIGURATION = 2, 78


@dataclass(frozen=True)
class Installation:
    """An environment with the wheel in it; what it depends on comes from the tests' own environment."""

    folder: Path
    wheel: Path

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def run(self, *command: str, cwd: Path, python_path: str = "") -> subprocess.CompletedProcess[str]:
        program = str(self.folder / "bin" / command[0])
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), **({"PYTHONPATH": python_path} if python_path else {})}
        return subprocess.run([program, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    [wheel] = folder.glob("raydeck-*.whl")
    environment = folder / "env"
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    made = Installation(environment, wheel)
    (made.site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return made


def test_the_command_runs_from_the_wheel_alone(installed: Installation, tmp_path: Path) -> None:
    done = installed.run("raydeck", "--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "raydeck, version 0.1.0\n"
    where = installed.run("python", "-c", WHERE, cwd=tmp_path)
    assert all(Path(path).is_relative_to(installed.site_packages) for path in json.loads(where.stdout))


def test_every_subcommand_explains_itself(installed: Installation, tmp_path: Path) -> None:
    for command in ("up", "web", "collect", "node", "projector", "user", "token", "list", "backup", "restore"):
        done = installed.run("raydeck", command, "--help", cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert "Usage: raydeck " + command in done.stdout


def test_pages_and_browser_files_are_in_the_wheel(installed: Installation) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    ours = {f"webapp/{path.relative_to(ROOT)}" for top in ("templates", "static") for path in (ROOT / top).rglob("*") if path.is_file()}
    assert ours
    assert ours <= names
    assert {"webapp/templates/base.html", "webapp/static/vendor/htmx.min.js", "webapp/static/vendor/hx-ptag.min.js"} <= names
    assert not {
        name for name in names if name.startswith(("tests/", "templates/", "static/", "scripts/")) or name.endswith((".pyc", ".map"))
    }


def test_the_licences_of_the_browser_files_go_with_them(installed: Installation) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {Path(name).name for name in names if "LICENSE" in name} == {"LICENSE", "LICENSE-htmx.txt", "LICENSE-uPlot.txt"}


def test_packages_of_another_program_are_noticed(installed: Installation, tmp_path: Path) -> None:
    foreign = tmp_path / "elsewhere" / "workers"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("", "utf-8")
    done = installed.run("raydeck", "user", "list", cwd=tmp_path, python_path=str(foreign.parent))
    assert done.returncode == WRONG_CONFIGURATION
    assert "an environment of its own" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_a_mistake_of_usage(installed: Installation, tmp_path: Path) -> None:
    assert installed.run("raydeck", "fly", cwd=tmp_path).returncode == USAGE


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
