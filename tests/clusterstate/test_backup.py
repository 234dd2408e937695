"""A backup holds what cannot be made again, and restoring it puts back that and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterstate import paths
from clusterstate.backup import MANIFEST, BadBackup, back_up, read_manifest, restore
from clusterstate.journal import Journal, Operation

NOW = 1_800_000_000.0
KEY = b"k" * 32

HOLD_OPEN = """
import sys
from pathlib import Path
from clusterstate.journal import Journal, Operation
journal = Journal(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def with_index(path: Path, sealed: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT)")
        if sealed:
            connection.execute("INSERT INTO meta VALUES ('sealed', '1')")
        connection.commit()
    path.chmod(0o400 if sealed else 0o600)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    state_dir = paths.make_state_dir(tmp_path / "state")
    journal = Journal(paths.journal_file(state_dir))
    journal.add_user("ada", "correct horse", "admin", "cli:root", NOW)
    journal.record_operation(Operation("one", "demo", "session_1", "job.submit", "raysubmit_1", "ada", NOW), b"sealed", {})
    journal.close()
    paths.keys_dir(state_dir).mkdir(mode=0o700)
    paths.master_key_file(state_dir).write_bytes(KEY)
    with_index(paths.index_dir(state_dir) / "demo" / "session_1.db", sealed=True)
    with_index(paths.index_dir(state_dir) / "demo" / "session_2.db", sealed=False)
    return state_dir


def crafted(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], manifest: object) -> Path:
    """An archive as an attacker would write it."""
    with tarfile.open(path, "w") as tar:
        text = json.dumps(manifest).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(**members: bytes) -> dict[str, object]:
    named = {
        name.replace("__", "/"): {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in members.items()
    }
    return {"raydeck_backup": 1, "created_at": NOW, "members": named}


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_backup_wipe_restore_gives_back_users_audit_submissions_keys_and_ended_sessions(state_dir: Path, tmp_path: Path) -> None:
    made = back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    restored = restore(tmp_path / "raydeck.tar", tmp_path / "new", NOW + 1)

    assert restored.members == made.members
    assert set(made.members) == {"journal.db", "keys/master.key", "index/demo/session_1.db"}
    assert restored.audit.is_whole
    before, after = Journal(paths.journal_file(state_dir)), Journal(paths.journal_file(tmp_path / "new"))
    assert after.users() == before.users()
    assert after.verify_password("ada", "correct horse", NOW)
    assert after.audit_records() == before.audit_records()
    assert after.unfinished_operations() == before.unfinished_operations() != []
    before.close()
    after.close()
    assert paths.master_key_file(tmp_path / "new").read_bytes() == KEY


def test_archive_and_restored_files_are_for_their_owner_alone(state_dir: Path, tmp_path: Path) -> None:
    back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    restore(tmp_path / "raydeck.tar", tmp_path / "new", NOW)
    found = [tmp_path / "raydeck.tar", tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert everything_below(tmp_path) >= {"raydeck.tar", "new/journal.db"}
    assert not [name for name in everything_below(tmp_path) if ".restore-" in name or ".raydeck-backup-" in name]


def test_a_backup_never_writes_over_a_file_or_through_a_link(state_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("taken", "link"):
        with pytest.raises(BadBackup, match="exists already"):
            back_up(state_dir, tmp_path / name, NOW)
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_backup_can_be_taken_while_raydeck_writes(state_dir: Path, tmp_path: Path) -> None:
    journal = Journal(paths.journal_file(state_dir))
    journal.audit("ada", "test", {}, NOW)
    report = back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    journal.audit("ada", "test", {}, NOW)
    journal.close()
    assert report.audit.is_whole
    assert report.audit.count == 3, "the user, the operation of the fixture, and what was written before"


def test_a_folder_in_use_is_not_restored_over(state_dir: Path, tmp_path: Path) -> None:
    back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(paths.journal_file(state_dir))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(BadBackup, match="is running"):
        restore(tmp_path / "raydeck.tar", state_dir, NOW, replace=True)
    holder.communicate("")
    assert restore(tmp_path / "raydeck.tar", state_dir, NOW, replace=True).sessions == 1


def test_what_is_there_is_kept_aside(state_dir: Path, tmp_path: Path) -> None:
    back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    journal = Journal(paths.journal_file(state_dir))
    journal.add_user("eve", None, "viewer", "ada", NOW)
    journal.close()
    with pytest.raises(BadBackup, match="--replace"):
        restore(tmp_path / "raydeck.tar", state_dir, NOW)
    restore(tmp_path / "raydeck.tar", state_dir, NOW, replace=True)
    now, aside = Journal(paths.journal_file(state_dir)), Journal(state_dir / f"replaced-{int(NOW)}" / "journal.db")
    assert [user.name for user in now.users()] == ["ada"]
    assert [user.name for user in aside.users()] == ["ada", "eve"]
    now.close()
    aside.close()


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_a_cut_archive_changes_nothing(state_dir: Path, tmp_path: Path, keep: float) -> None:
    back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    content = (tmp_path / "raydeck.tar").read_bytes().rstrip(b"\0")
    (tmp_path / "cut.tar").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(BadBackup):
        restore(tmp_path / "cut.tar", tmp_path / "new", NOW)
    assert everything_below(tmp_path / "new") <= {"up.lock"}


def test_a_changed_archive_changes_nothing(state_dir: Path, tmp_path: Path) -> None:
    back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    content = (tmp_path / "raydeck.tar").read_bytes()
    (tmp_path / "changed.tar").write_bytes(content.replace(KEY, b"e" * 32))
    with pytest.raises(BadBackup, match=r"keys/master\.key"):
        restore(tmp_path / "changed.tar", tmp_path / "new", NOW)
    assert everything_below(tmp_path / "new") <= {"up.lock"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/tmp/evil",
        "keys/../../evil",
        "keys/..",
        "index/../x.db",
        "index/demo/x.db/y",
        "redis/dump.rdb",
        "keys/a\nb",
        "journal.db-wal",
    ],
)
def test_a_member_that_no_backup_has_is_refused(tmp_path: Path, name: str) -> None:
    content = b"evil"
    manifest = {"raydeck_backup": 1, "created_at": NOW, "members": {name: {"size": 4, "sha256": hashlib.sha256(content).hexdigest()}}}
    crafted(tmp_path / "evil.tar", [(tarfile.TarInfo(name), content)], manifest)
    with pytest.raises(BadBackup, match="no backup has"):
        restore(tmp_path / "evil.tar", tmp_path / "new", NOW)
    assert everything_below(tmp_path / "new") <= {"up.lock"}
    assert not (tmp_path / "evil").exists()


def _link(kind: bytes) -> Callable[[], tarfile.TarInfo]:
    def make() -> tarfile.TarInfo:
        info = tarfile.TarInfo("journal.db")
        info.type, info.linkname = kind, "/etc/passwd"
        return info

    return make


@pytest.mark.parametrize(
    "member", [_link(tarfile.SYMTYPE), _link(tarfile.LNKTYPE), _link(tarfile.FIFOTYPE), lambda: tarfile.TarInfo("../extra")]
)
def test_links_devices_and_unlisted_members_are_refused(tmp_path: Path, member: Callable[[], tarfile.TarInfo]) -> None:
    crafted(tmp_path / "evil.tar", [(member(), b"")], listed(**{"journal.db": b"x"}))
    with pytest.raises(BadBackup, match="does not name"):
        restore(tmp_path / "evil.tar", tmp_path / "new", NOW)
    assert everything_below(tmp_path / "new") <= {"up.lock"}


@pytest.mark.parametrize("content", [b"", b"not a database", os.urandom(20_000)])
def test_a_journal_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    crafted(tmp_path / "evil.tar", [(tarfile.TarInfo("journal.db"), content)], listed(**{"journal.db": content}))
    with pytest.raises(BadBackup, match="journal"):
        restore(tmp_path / "evil.tar", tmp_path / "new", NOW)


@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(4096)])
def test_a_file_that_is_no_archive_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises(BadBackup):
        restore(tmp_path / "odd", tmp_path / "new", NOW)
    with pytest.raises(BadBackup, match="no file"):
        restore(tmp_path / "missing", tmp_path / "new", NOW)


def test_a_folder_that_is_a_link_is_not_followed(state_dir: Path, tmp_path: Path) -> None:
    back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    new = paths.make_state_dir(tmp_path / "new")
    (tmp_path / "outside").mkdir()
    (new / "index").symlink_to(tmp_path / "outside")
    with pytest.raises(BadBackup, match="not a folder"):
        restore(tmp_path / "raydeck.tar", new, NOW)
    assert everything_below(tmp_path / "outside") == set()


def test_what_a_backup_holds_can_be_listed(state_dir: Path, tmp_path: Path) -> None:
    made = back_up(state_dir, tmp_path / "raydeck.tar", NOW)
    created_at, members = read_manifest(tmp_path / "raydeck.tar")
    assert created_at == NOW
    assert members == made.members
