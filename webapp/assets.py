"""Static files: found once, read once, compressed once; a URL with the file's hash may be kept for a year."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from flask import Response, request
from werkzeug.exceptions import NotFound as NoSuchFile
from werkzeug.security import safe_join

from webapp.parts import parts

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_FILES = 200
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "public, no-cache"
COMPRESSED_TYPES = ("text/", "application/javascript", "application/json", "image/svg")
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class Asset:
    body: bytes
    gzipped: bytes | None
    content_type: str
    version: str  # first 12 hex digits of the SHA-256
    changed: tuple[int, int]  # modification time and size


class Assets:
    """The files below one folder. Links that lead out of it are not followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._kept: OrderedDict[str, Asset] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, name: str) -> Asset | None:
        """The file as it is now, or None."""
        path = self._path(name)
        if path is None:
            return None
        status = path.stat()
        changed = (status.st_mtime_ns, status.st_size)
        with self._lock:
            kept = self._kept.get(name)
        if kept is not None and kept.changed == changed:
            return kept
        if status.st_size > MAX_FILE_BYTES:
            return None
        asset = _read(path, changed)
        with self._lock:
            self._kept[name] = asset
            while len(self._kept) > MAX_FILES:
                self._kept.popitem(last=False)
        return asset

    def version(self, name: str) -> str | None:
        """What `?v=` of the file's URL says."""
        asset = self.find(name)
        return asset.version if asset is not None else None

    def build(self) -> str:
        """A word for all style sheets and scripts as they are now: fragments of another build are not reused."""
        names = sorted(str(path.relative_to(self.folder)) for kind in ("css", "js") for path in self.folder.glob(f"{kind}/*"))
        return hashlib.sha256("".join(self.version(name) or "" for name in names).encode()).hexdigest()[:12]

    def _path(self, name: str) -> Path | None:
        joined = safe_join(str(self.folder), name)
        if joined is None or "\0" in name or any(part.startswith(".") for part in name.split("/")):
            return None
        path = Path(joined).resolve()
        return path if path.is_relative_to(self.folder) and path.is_file() else None


def serve_static(filename: str) -> Response:
    """A file of `static/`."""
    asset = parts().assets.find(filename)
    if asset is None:
        raise NoSuchFile("There is no such file.")
    as_gzip = asset.gzipped is not None and request.accept_encodings.quality("gzip") > 0
    response = Response(asset.gzipped if as_gzip and asset.gzipped is not None else asset.body, content_type=asset.content_type)
    if as_gzip:
        response.headers["Content-Encoding"] = "gzip"
    if asset.gzipped is not None:
        response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = FOR_EVER if request.args.get("v") == asset.version else ASK_AGAIN
    response.set_etag(asset.version + ("-gzip" if as_gzip else ""))
    response.make_conditional(request)
    return response


def _read(path: Path, changed: tuple[int, int]) -> Asset:
    body = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    small = gzip.compress(body, 9, mtime=0) if kind.startswith(COMPRESSED_TYPES) and len(body) > 500 else None
    if small is not None and len(small) >= len(body):
        small = None
    return Asset(body, small, kind, hashlib.sha256(body).hexdigest()[:12], changed)
