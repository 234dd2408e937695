"""Rendered fragments, gzipped, until their versions change: a hundred viewers cost one rendering."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

MAX_BYTES = 32 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 200
GZIP_LEVEL = 1  # 0.1 ms for a page of 100 rows; level 6 costs four times that for a fifth fewer bytes
RENDERING_AT_ONCE_S = 5.0


def tag_of(*parts: object) -> str:
    """A short word that differs whenever a part differs. What people typed goes in hashed, and cannot imitate a part."""
    try:
        whole = msgspec.json.encode(parts, enc_hook=str, order="sorted")
    except UnicodeEncodeError:  # half a character in a URL
        whole = json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=12).hexdigest()


def compress(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


class FragmentCache:
    """tag → gzipped body. Least used go first when there are more than `max_bytes` of them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._rendering: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, tag: str) -> bytes | None:
        with self._lock:
            body = self._kept.get(tag)
            if body is None:
                self.misses += 1
                return None
            self._kept.move_to_end(tag)
            self.hits += 1
            return body

    def get_or_render(self, tag: str, render: Callable[[], tuple[bytes, bool]]) -> bytes:
        """The fragment's gzipped body. `render` answers (body, may be kept); of those who ask at once, one renders."""
        body = self.get(tag)
        if body is not None:
            return body
        with self._lock:
            rendering = self._rendering.get(tag)
            is_first = rendering is None
            if rendering is None:
                rendering = self._rendering[tag] = threading.Event()
        if not is_first:
            rendering.wait(RENDERING_AT_ONCE_S)
            with self._lock:
                body = self._kept.get(tag)
            if body is not None:
                return body
        try:
            plain, may_be_kept = render()
            body = compress(plain)
            if may_be_kept:
                self._keep(tag, body)
            return body
        finally:
            if is_first:
                with self._lock:
                    self._rendering.pop(tag, None)
                rendering.set()

    def _keep(self, tag: str, body: bytes) -> None:
        size = len(body) + ENTRY_OVERHEAD_BYTES
        if size > self._max_bytes // 8:
            return
        with self._lock:
            old = self._kept.pop(tag, None)
            if old is not None:
                self.bytes -= len(old) + ENTRY_OVERHEAD_BYTES
            self._kept[tag] = body
            self.bytes += size
            while self.bytes > self._max_bytes:
                _, gone = self._kept.popitem(last=False)
                self.bytes -= len(gone) + ENTRY_OVERHEAD_BYTES
