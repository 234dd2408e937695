"""What a box of a flame graph stands for, and whose code that is. Names are a program's claim. Pure."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from clusterstate.stacks import Frame, Thread

ALL, PROCESS, THREAD, FRAME, MODULE = "all", "process", "thread", "frame", "module"
RAY, STDLIB, NATIVE = "Ray", "standard library", "native"
HUES = 12
SALT = b"6699"
"""With it torch, numpy, pandas, pyarrow, jax, tensorflow and others that are often seen together have a colour each."""
END_FOLDERS = 3
"""Parts of a path of a program's own that are shown."""
UNKNOWN_MODULE = "not known"
NO_SYMBOL = "(no symbol)"

_INSTALLED = re.compile(r"(?:site|dist)-packages/")
_PYTHON_FOLDER = re.compile(r"(?:^|/)lib(?:64)?/python\d+(?:\.\d+)?t?/")
_NATIVE_FILE = re.compile(r"\.(?:so(?:\.[\d.]+)?|dylib|dll|c|cc|cpp|cxx|cu|cuh|h|hpp|rs|S|asm)$", re.IGNORECASE)
_RAY = re.compile(r"(?:^|/)(?:python/)?ray/|(?:^|/)_raylet\b|^src/ray/")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_STDLIB_NAMES = sys.stdlib_module_names


class Label(NamedTuple):
    """A box stands for it: a function, a thread, a process, or all there is."""

    name: str
    file: str = ""  # of a module: whose code it is, as origin_of says
    line: int = 0
    kind: str = FRAME


ROOT = Label("all", kind=ALL)


def label_of(frame: Frame, *, lines: bool) -> Label:
    """A function, or a line of one. Native code without symbols has another address in each process: it is one function of its library."""
    return Label(frame.function, frame.file, frame.line) if lines else Label(named(frame.function), frame.file)


def named(function: str) -> str:
    """A function's name; NO_SYMBOL for an address."""
    return NO_SYMBOL if _ADDRESS.fullmatch(function) else function


def label_of_module(frame: Frame) -> Label:
    """All functions of a package, or of a program's own module, as one."""
    return Label(module_of(frame.file) or UNKNOWN_MODULE, origin_of(frame.file), kind=MODULE)


def label_of_thread(thread: Thread) -> Label:
    return Label(thread_name(thread), kind=THREAD)


def label_of_process(thread: Thread) -> Label:
    return Label(process_name(thread), kind=PROCESS)


def process_name(thread: Thread) -> str:
    return thread.process or f"process {thread.pid}"


def have_several(threads: Iterable[Thread]) -> bool:
    """Whether they are of more than one process."""
    return len({process_name(thread) for thread in threads}) > 1


def thread_name(thread: Thread) -> str:
    """As py-spy names it at the root of a stack."""
    number = f"thread ({thread.os_id})" if thread.os_id else "thread"
    return f"{number}: {thread.name}" if thread.name else number


def key_of(*parts: object) -> str:
    """A short name for a URL that stays the same as long as the parts do."""
    return f"{number_of(*parts):016x}"


def number_of(*parts: object) -> int:
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def key_of_thread(thread: Thread) -> str:
    return key_of(process_name(thread), thread.os_id, thread.name)


def key_of_function(label: Label) -> str:
    """The same with lines and without."""
    return key_of(named(label.name), label.file)


@lru_cache(maxsize=20_000)
def module_of(file: str) -> str:
    """The package, or for a program's own files the module, that a file belongs to; empty: not known."""
    path = file.replace("\\", "/")
    if path.startswith("<frozen "):
        return path.strip("<>").removeprefix("frozen ").split(".", 1)[0]
    if path.startswith("<"):
        return path.strip("<>")  # <string>, <stdin>: what was typed or handed over, no module that is called so
    if _NATIVE_FILE.search(path):
        return "ray" if _RAY.search(path) else path.rsplit("/", 1)[-1].split(".so", 1)[0]
    if _RAY.search(path) or (path.endswith(".pyx") and "raylet" in path):
        return "ray"
    for folder in (_INSTALLED, _PYTHON_FOLDER):
        parts = folder.split(path)
        if len(parts) > 1:
            return _first(parts[-1])
    return _first(path.rsplit("/", 1)[-1] if path.startswith("/") or path[1:3] == ":/" else path)


@lru_cache(maxsize=20_000)
def short_file(file: str) -> str:
    """As much of a path as tells which file it is: below the folder it was installed in, or its end."""
    path = file.replace("\\", "/")
    for folder in (_INSTALLED, _PYTHON_FOLDER):
        parts = folder.split(path)
        if len(parts) > 1 and parts[-1]:
            return parts[-1]
    parts = path.split("/")
    return path if len(parts) <= END_FOLDERS + 1 else "…/" + "/".join(parts[-END_FOLDERS:])


@lru_cache(maxsize=20_000)
def origin_of(file: str) -> str:
    """RAY, STDLIB or NATIVE; empty: other Python code."""
    path = file.replace("\\", "/")
    module = module_of(file)
    if module == "ray" or not path:
        return RAY if path else ""
    if _NATIVE_FILE.search(path) or (not path.endswith((".py", ".pyx", ".pyc")) and not path.startswith("<")):
        return NATIVE
    if path.startswith("<") and not path.startswith("<frozen"):
        return ""
    if path.startswith("<frozen") or (_PYTHON_FOLDER.search(path) and not _INSTALLED.search(path)):
        return STDLIB
    return STDLIB if not path.startswith("/") and module in _STDLIB_NAMES else ""


@lru_cache(maxsize=20_000)
def look_of(label: Label) -> str:
    """The class of its colour: the same module has the same everywhere."""
    if label.kind not in (FRAME, MODULE):
        return f"of-{label.kind}"
    module, origin = (label.name, label.file) if label.kind == MODULE else (module_of(label.file), origin_of(label.file))
    if origin:
        return {RAY: "of-ray", STDLIB: "of-stdlib", NATIVE: "of-native"}[origin]
    if module in ("", UNKNOWN_MODULE):
        return "of-unknown"
    return f"pkg-{zlib.crc32(SALT + module.encode('utf-8', 'surrogatepass')) % HUES}"


def owner_of(label: Label) -> str:
    """What its colour means, in words."""
    if label.kind == MODULE:
        return label.file or label.name
    return origin_of(label.file) or module_of(label.file)


def _first(path: str) -> str:
    first = path.lstrip("./").split("/", 1)[0]
    return first.rsplit(".", 1)[0] if first.endswith((".py", ".pyc", ".pyx")) else first
