"""The smallest HTTP/1.1 client that can be a browser's poll: keep-alive, gzip left packed, time taken to the last byte."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

LIMIT_S = 15.0
MAX_BODY = 64 << 20
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Answer:
    """One response; `size` is what went over the wire."""

    status: int
    headers: dict[str, str]  # lower-case names; of repeated ones the last
    body: bytes  # as sent: maybe gzip
    size: int

    def text(self) -> str:
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return body.decode("utf-8", "replace")


class Connection:
    """One keep-alive connection, as one tab holds it. Opened when needed, opened again when the server closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._authority = parts.netloc
        self._streams: Streams | None = None

    async def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """GET. OSError, TimeoutError or ValueError if nothing sensible came."""
        reused = self._streams is not None
        try:
            return await asyncio.wait_for(self._get(path, headers), LIMIT_S)
        except (OSError, EOFError):
            self.close()
            if not reused:
                raise
            return await asyncio.wait_for(self._get(path, headers), LIMIT_S)  # an idle connection that the server gave up
        except (asyncio.TimeoutError, ValueError):
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _get(self, path: str, headers: Mapping[str, str]) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        reader, writer = self._streams
        lines = [f"GET {path} HTTP/1.1", f"Host: {self._authority}", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = await reader.readuntil(b"\r\n\r\n")
        status, found = _parse_head(head)
        body = b"" if status in (204, 304) else await _read_body(reader, found)
        if found.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, found, body, len(head) + len(body))


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return int(first.split(" ", 2)[1]), {name.strip().lower(): value.strip() for name, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        length = int(headers["content-length"])
        if length > MAX_BODY:
            raise ValueError(f"a body of {length} bytes")
        return await reader.readexactly(length)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader)
    return await reader.read(MAX_BODY)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        length = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        body += await reader.readexactly(length)
        await reader.readexactly(2)
        if not length:
            return bytes(body)
        if len(body) > MAX_BODY:
            raise ValueError("a body without end")
