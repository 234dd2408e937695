"""Backup and restore of what cannot be made again: the journal, sealed sessions and keys, in one tar archive.

The archive opens with `manifest.json`: every member with its size and SHA-256. Restoring reads members one by one
into names it knows itself; nothing in an archive can choose where it lands.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clusterstate import paths
from clusterstate.journal import AuditReport, Journal, JournalUnavailable
from clusterstate.journal.schema import APPLICATION_ID

FORMAT = 1
MANIFEST = "manifest.json"
IN_USE = "Raydeck is running on this state directory. Stop it first."
JOURNAL = "journal.db"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
_PART = r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,127}"  # no name starts with a dot
MEMBER_NAME = re.compile(rf"journal\.db|keys(?:/{_PART}){{1,3}}|index/{_PART}/{_PART}\.db", re.ASCII)


class BadBackup(Exception):
    """The archive, or the place it should go to, cannot be used; the message says why."""


@dataclass(frozen=True)
class Member:
    size: int
    sha256: str


@dataclass(frozen=True)
class BackupReport:
    created_at: float  # Unix seconds
    members: Mapping[str, Member]
    audit: AuditReport

    @property
    def sessions(self) -> int:
        return sum(1 for name in self.members if name.startswith("index/"))

    @property
    def total_bytes(self) -> int:
        return sum(member.size for member in self.members.values())


def back_up(state_dir: Path, archive: Path, now: float) -> BackupReport:
    """Write a new 0600 archive, also while Raydeck runs. Appears under its name only when it is whole."""
    if os.path.lexists(archive):
        raise BadBackup(f"{archive} exists already.")
    if not paths.journal_file(state_dir).is_file():
        raise BadBackup(f"There is no journal in {state_dir}.")
    with tempfile.TemporaryDirectory(prefix=".raydeck-backup-", dir=archive.parent) as folder:
        copy = Path(folder) / JOURNAL
        audit = _copy_journal(paths.journal_file(state_dir), copy)
        sources = {JOURNAL: copy, **_keys(state_dir), **_sealed_sessions(state_dir)}
        members = {name: _described(path) for name, path in sources.items()}
        part = Path(folder) / "archive"
        _write_archive(part, sources, members, now)
        os.rename(part, archive)
    _sync_folder(archive.parent)
    return BackupReport(now, members, audit)


def restore(archive: Path, state_dir: Path, now: float, replace: bool = False) -> BackupReport:
    """Put an archive's content into `state_dir`, the journal last: a broken-off restore can be repeated.

    Refuses while anything uses the journal there. What is there already is moved to `replaced-<now>` when
    `replace` is given, and else is a reason to refuse.
    """
    paths.make_state_dir(state_dir)
    present = paths.journal_file(state_dir)
    with _nobody_else(state_dir), tempfile.TemporaryDirectory(prefix=".restore-", dir=state_dir) as folder:
        if present.exists() and not replace:
            raise BadBackup(f"{state_dir} holds a journal already. Restore with --replace to set it aside.")
        staged = Path(folder)
        created_at, members = _unpack(archive, staged)
        audit = _check_journal(staged / JOURNAL)
        for name in members:
            _make_folders(state_dir, (state_dir / name).parent)
        if present.exists():
            _set_aside(state_dir, state_dir / f"replaced-{int(now)}")
        _move_into_place(staged, state_dir, members)
    return BackupReport(created_at, members, audit)


def read_manifest(archive: Path) -> tuple[float, dict[str, Member]]:
    """When an archive was made and what it says it holds, nothing unpacked."""
    with _opened(archive) as tar:
        return _manifest(tar)


# --- writing


def _copy_journal(source: Path, copy: Path) -> AuditReport:
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    journal = Journal(source)
    try:
        journal.copy_to(copy)
    finally:
        journal.close()
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    return _check_journal(copy)


def _keys(state_dir: Path) -> dict[str, Path]:
    """Private files below keys/ (no links)."""
    root = paths.keys_dir(state_dir)
    found = {str(path.relative_to(state_dir)): path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()}
    return {name: path for name, path in found.items() if MEMBER_NAME.fullmatch(name)}


def _sealed_sessions(state_dir: Path) -> dict[str, Path]:
    """Ended sessions. An index that is not sealed is rebuilt from Redis and needs no backup."""
    found = {str(path.relative_to(state_dir)): path for path in sorted(paths.index_dir(state_dir).glob("*/*.db")) if not path.is_symlink()}
    return {name: path for name, path in found.items() if MEMBER_NAME.fullmatch(name) and _is_sealed(path)}


def _is_sealed(path: Path) -> bool:
    if path.with_name(path.name + "-wal").exists():  # being sealed just now, at the most
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            return connection.execute("SELECT 1 FROM meta WHERE name = 'sealed'").fetchone() is not None
    except sqlite3.DatabaseError:  # torn, or being built: nothing to keep
        return False


def _described(path: Path) -> Member:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        size = 0
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return Member(size, digest.hexdigest())


def _write_archive(path: Path, sources: Mapping[str, Path], members: Mapping[str, Member], now: float) -> None:
    manifest = {
        "raydeck_backup": FORMAT,
        "created_at": now,
        "members": {name: {"size": member.size, "sha256": member.sha256} for name, member in members.items()},
    }
    text = json.dumps(manifest, indent=1).encode()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(_tar_info(MANIFEST, len(text), now), io.BytesIO(text))
            for name, source in sources.items():
                with source.open("rb") as content:
                    tar.addfile(_tar_info(name, members[name].size, now), content)
        file.flush()
        os.fsync(file.fileno())


def _tar_info(name: str, size: int, now: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(now)
    return info


# --- reading


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar
    except FileNotFoundError:
        raise BadBackup(f"There is no file {archive}.") from None
    except (tarfile.TarError, EOFError) as error:
        raise BadBackup(f"{archive} is not a whole backup: {error}.") from error


def _manifest(tar: tarfile.TarFile) -> tuple[float, dict[str, Member]]:
    info = tar.next()
    if info is None or info.name != MANIFEST or not info.isreg() or info.size > MAX_MANIFEST_BYTES:
        raise BadBackup("The archive does not begin with Raydeck's manifest.")
    try:
        manifest = json.loads(_content(tar, info).read())
        if manifest["raydeck_backup"] != FORMAT:
            raise BadBackup("The archive was made by another version of Raydeck's backup.")
        members = {str(name): Member(int(item["size"]), str(item["sha256"])) for name, item in manifest["members"].items()}
        created_at = float(manifest["created_at"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBackup("The archive's manifest cannot be read.") from error
    for name in members:
        if not MEMBER_NAME.fullmatch(name):
            raise BadBackup(f"The archive names a member that no backup has: {ascii(name)[:200]}.")
    if JOURNAL not in members:
        raise BadBackup("The archive holds no journal.")
    return created_at, members


def _unpack(archive: Path, staged: Path) -> tuple[float, dict[str, Member]]:
    with _opened(archive) as tar:
        created_at, members = _manifest(tar)
        missing = set(members)
        while (info := tar.next()) is not None:
            if info.name not in missing or not info.isreg() or info.sparse is not None:  # a sparse member grows on disk
                raise BadBackup(f"The archive holds something its manifest does not name: {ascii(info.name)[:200]}.")
            missing.remove(info.name)
            _unpack_one(_content(tar, info), staged / info.name, info.name, members[info.name])
    if missing:
        raise BadBackup(f"The archive lacks {sorted(missing)[0]}.")
    return created_at, members


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    if content is None:
        raise BadBackup(f"The archive's member {ascii(info.name)[:200]} is not a file.")
    return content


def _unpack_one(content: IO[bytes], target: Path, name: str, member: Member) -> None:
    """`name` matched MEMBER_NAME, so `target` lies below the staging folder."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as file:
        while chunk := content.read(min(CHUNK_BYTES, member.size - size + 1)):
            size += len(chunk)
            digest.update(chunk)
            if size > member.size:
                break
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if (size, digest.hexdigest()) != (member.size, member.sha256):
        raise BadBackup(f"{name} in the archive is not what was backed up.")


def _check_journal(path: Path) -> AuditReport:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            is_ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            is_whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        except sqlite3.DatabaseError as error:
            raise BadBackup(f"The journal in the backup is damaged: {error}.") from error
    if not is_ours or not is_whole:
        raise BadBackup("The journal in the backup is damaged or of another program.")
    try:
        journal = Journal(path)  # also brings an older one to today's schema
    except JournalUnavailable as error:
        raise BadBackup(str(error)) from error
    report = journal.verify_audit()
    journal.close()
    return report


# --- putting into place


@contextlib.contextmanager
def _nobody_else(state_dir: Path) -> Iterator[None]:
    """No Raydeck runs on the folder, and none starts meanwhile: the supervisor's own lock is held."""
    journal = paths.journal_file(state_dir)
    descriptor = os.open(paths.lock_file(state_dir), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if journal.exists():
            _refuse_if_in_use(journal)
        yield
    except BlockingIOError:
        raise BadBackup(IN_USE) from None
    finally:
        os.close(descriptor)


def _refuse_if_in_use(journal: Path) -> None:
    """Whoever has a journal open holds a lock on it that keeps its mode from being changed."""
    with contextlib.closing(sqlite3.connect(journal, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            raise BadBackup(IN_USE) from None
        except sqlite3.DatabaseError:
            return  # damaged: nobody can be using it, and it is a reason to restore


def _set_aside(state_dir: Path, aside: Path) -> None:
    if aside.exists():
        raise BadBackup(f"{aside} exists already.")
    aside.mkdir(mode=0o700)
    for path in (*sorted(state_dir.glob(f"{JOURNAL}*")), paths.keys_dir(state_dir)):
        if path.exists():
            os.rename(path, aside / path.name)
    _sync_folder(aside)


def _move_into_place(staged: Path, state_dir: Path, members: Mapping[str, Member]) -> None:
    """Onto the disk one by one; without the journal the folder counts as empty."""
    for name in sorted(members, key=lambda name: (name == JOURNAL, name)):
        _make_folders(state_dir, (state_dir / name).parent)  # keys/ may just have been set aside
        target = state_dir / name
        for leftover in (target.with_name(target.name + "-wal"), target.with_name(target.name + "-shm")):
            leftover.unlink(missing_ok=True)
        (staged / name).chmod(0o400 if name.startswith("index/") else 0o600)
        os.replace(staged / name, target)
        _sync_folder(target.parent)


def _make_folders(state_dir: Path, folder: Path) -> None:
    """Folders on the way must be real ones: a link could lead outside."""
    for part in reversed([folder, *folder.parents]):
        if part == state_dir or state_dir not in part.parents:
            continue
        part.mkdir(mode=0o700, exist_ok=True)
        if not stat.S_ISDIR(part.lstat().st_mode):
            raise BadBackup(f"{part} is not a folder.")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
