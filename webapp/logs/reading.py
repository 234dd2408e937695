"""Reading log files whole from their node: piece by piece, each asked for when the one before was sent."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from clusterstate.log_answers import FileBytes, Unreadable, read_answer
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import ReadBytes

AT_ONCE_BYTES = 2 << 20
ANSWERED_WITHIN_S = 10.0
GZIP_LEVEL = 1
"""Of an archive: logs shrink to a tenth whatever the level, and the web host has other things to do."""


@dataclass(frozen=True)
class LogSource:
    """Where a node's files are asked for."""

    questions: NodeQuestions
    cluster: str
    host: str
    node_id: str

    def read(self, file_id: str, start: int, length: int, inode: str | None = None) -> FileBytes:
        """Bytes of a file, fewer where it ends. Raises Unanswered."""
        probe = ReadBytes(self.node_id, file_id, inode, start, length)
        try:
            found = read_answer(self.questions.ask(probe, self.cluster, self.host, ANSWERED_WITHIN_S), FileBytes)
            found.bytes()
        except Unreadable as why:
            raise Unanswered(str(why)) from None
        return found

    def pieces(self, file_id: str, first: FileBytes, start: int, end: int) -> Iterator[bytes]:
        """Bytes from `start` to before `end`; `first` is what was read from `start` on. Raises Unanswered when less is there by now."""
        content, at = first.bytes()[: end - start], start
        while True:
            yield content
            at += len(content)
            if at >= end:
                return
            content = self.read(file_id, at, min(AT_ONCE_BYTES, end - at), first.inode).bytes()
            if not content:
                raise Unanswered("The file became shorter while it was read.")


@dataclass(frozen=True)
class Member:
    """A file of an archive."""

    file_id: str
    name: str


def archive(source: LogSource, members: Iterator[Member] | list[Member], now: float) -> Iterator[bytes]:
    """A gzipped tar of files, made while it is sent. What could not be read is told in its last member, as JSON."""
    squeezer = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    told: list[dict[str, Any]] = []
    for member in members:
        about: dict[str, Any] = {"node_id": source.node_id, "file": member.name}
        told.append(about)
        for piece in _member(source, member, about):
            if squeezed := squeezer.compress(piece):
                yield squeezed
    listing = json.dumps({"made_at": now, "files": told}, indent=1).encode()
    yield squeezer.compress(_head(f"{source.node_id[:8]}/archive.json", len(listing), now) + listing + _padding(len(listing)))
    yield squeezer.compress(bytes(2 * tarfile.BLOCKSIZE)) + squeezer.flush()


def _member(source: LogSource, member: Member, about: dict[str, Any]) -> Iterator[bytes]:
    try:
        first = source.read(member.file_id, 0, AT_ONCE_BYTES)
    except Unanswered as why:
        about["problem"] = str(why)
        return
    about |= {"size": first.size, "modified_ms": first.modified_ms}
    yield _head(f"{source.node_id[:8]}/{safe_path(first.name)}", first.size, first.modified_ms / 1000)
    sent = 0
    try:
        for piece in source.pieces(member.file_id, first, 0, first.size):
            yield piece
            sent += len(piece)
    except Unanswered as why:
        about |= {"problem": str(why), "bytes_that_were_read": sent}
        for at in range(sent, first.size, AT_ONCE_BYTES):
            yield bytes(min(AT_ONCE_BYTES, first.size - at))
    yield _padding(first.size)


def safe_path(name: str) -> str:
    """A name as it may stand in an archive: relative, going nowhere up."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/").replace("\0", "")).parts if part not in {"/", "..", "."}]
    return "/".join(parts) or "file"


def _head(name: str, size: int, modified_s: float) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(modified_s), 0o600
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
