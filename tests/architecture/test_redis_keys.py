"""Redis keys: named in one module, each with who writes it and how long it lives."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from clusterstate.store import keys
from tests.architecture.repository import PACKAGES, imported, modules, tree

KEYS = Path("clusterstate/store/keys.py")
SPELLED = re.compile(r"^rd:[a-z]")


def test_no_other_module_spells_a_key() -> None:
    found = [(str(path), text) for path in modules(*PACKAGES) if path != KEYS for text in _literals(path) if SPELLED.match(text)]
    assert not found


def test_every_key_says_what_it_holds() -> None:
    functions = [value for name, value in vars(keys).items() if inspect.isfunction(value) and not name.startswith("_")]
    assert functions
    assert [function.__name__ for function in functions if not inspect.getdoc(function)] == []


def test_redis_is_reached_through_the_store_alone() -> None:
    """A Redis client is opened in one place; others are handed it."""
    opening = [
        str(path)
        for path in modules(*PACKAGES)
        if "redis" in {name.split(".")[0] for name in imported(path)}
        and _opens_a_client(path)
        and path.parts[:2] != ("clusterstate", "store")
    ]
    assert opening in ([], ["workers/redis_server.py"]), "only the private server's own start may look at it directly"


def _literals(path: Path) -> list[str]:
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            found.append(node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value)
    return found


def _opens_a_client(path: Path) -> bool:
    calls = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
    return bool(calls & {"redis.Redis", "redis.Redis.from_url", "redis.from_url", "Redis", "Redis.from_url"})
