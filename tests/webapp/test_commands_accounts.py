"""Accounts, audit and backups at the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from clusterstate import paths
from clusterstate.journal import Journal
from webapp.commands import accounts, keeping

PASSWORD = "correct horse"


@pytest.fixture
def raydeck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> click.Group:
    monkeypatch.setenv("RAYDECK_STATE_DIR", str(tmp_path / "state"))
    group = click.Group("raydeck")
    for command in [*accounts.commands, *keeping.commands]:
        group.add_command(command)
    return group


def run(raydeck: click.Group, *arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(raydeck, arguments, input=typed)


def with_admin(raydeck: click.Group) -> None:
    assert run(raydeck, "user", "add", "ada", "--role", "admin", "--password-stdin", typed=PASSWORD + "\n").exit_code == 0


def opened(tmp_path: Path) -> Journal:
    return Journal(paths.journal_file(tmp_path / "state"))


def test_a_user_added_at_the_terminal_can_sign_in(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    journal = opened(tmp_path)
    signed_in = journal.verify_password("ada", PASSWORD, 0.0)
    journal.close()
    assert signed_in is not None
    assert signed_in.role == "admin"
    assert "ada   admin  enabled  yes" in run(raydeck, "user", "list").output
    assert json.loads(run(raydeck, "user", "list", "--json").output)["name"] == "ada"


def test_mistakes_are_one_sentence_and_exit_code_1(raydeck: click.Group) -> None:
    with_admin(raydeck)
    for arguments in (
        ("user", "add", "ada", "--no-password"),
        ("user", "add", "a b", "--no-password"),
        ("user", "disable", "ada"),
        ("user", "password", "eve", "--password-stdin"),
        ("token", "create", "eve", "--name", "ci"),
        ("token", "revoke", "nothing"),
    ):
        result = run(raydeck, *arguments)
        assert result.exit_code == 1, arguments
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


def test_a_password_is_asked_for_at_a_terminal_only(raydeck: click.Group) -> None:
    result = run(raydeck, "user", "add", "ada")
    assert result.exit_code == 2
    assert "--password-stdin" in result.stderr


def test_a_user_can_be_changed(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    for arguments in (
        ("user", "add", "bob", "--no-password"),
        ("user", "role", "bob", "operator"),
        ("user", "disable", "bob"),
        ("user", "enable", "bob"),
    ):
        assert run(raydeck, *arguments).exit_code == 0
    assert run(raydeck, "user", "password", "bob", "--password-stdin", typed="another horse\n").exit_code == 0
    journal = opened(tmp_path)
    bob = journal.verify_password("bob", "another horse", 0.0)
    journal.close()
    assert bob is not None
    assert bob.role == "operator"


def test_a_token_is_printed_once_listed_without_its_secret_and_revoked(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    text = run(raydeck, "token", "create", "ada", "--name", "ci", "--role", "operator", "--days", "30").output.strip()
    journal = opened(tmp_path)
    assert journal.verify_token(text, 0.0) is not None
    listed = run(raydeck, "token", "list").output
    assert "operator  live" in listed
    assert text not in listed
    assert run(raydeck, "token", "revoke", text.split("_")[1]).exit_code == 0
    assert journal.verify_token(text, 0.0) is None
    journal.close()


def test_the_audit_trail_is_listed_and_verified(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    journal = opened(tmp_path)
    journal.audit("ada", "sign_in", {"from": "127.0.0.1\n99 forged\x1b[2J"}, 1.0)
    journal.close()
    listed = run(raydeck, "audit", "list").output
    assert listed.count("\n") == 2
    assert "\x1b" not in listed
    assert [json.loads(line)["seq"] for line in run(raydeck, "audit", "list", "--json", "--after", "1").output.splitlines()] == [2]
    assert "2 records, none changed" in run(raydeck, "audit", "verify").output


def test_a_changed_audit_trail_is_exit_code_1_with_the_first_bad_record(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    path = paths.journal_file(tmp_path / "state")
    path.write_bytes(path.read_bytes().replace(b"user.add", b"user.odd"))
    result = run(raydeck, "audit", "verify")
    assert result.exit_code == 1
    assert "First bad record: 1." in result.stderr


def test_nothing_is_created_by_only_looking(raydeck: click.Group, tmp_path: Path) -> None:
    for arguments in (("user", "list"), ("token", "list"), ("audit", "verify"), ("backup", str(tmp_path / "x.tar"))):
        result = run(raydeck, *arguments)
        assert result.exit_code == 1
        assert "no journal" in result.stderr
    assert not (tmp_path / "state").exists()


def test_backup_and_restore_at_the_terminal(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    archive = str(tmp_path / "raydeck.tar")
    assert "2 audit records" in run(raydeck, "backup", archive).output
    assert run(raydeck, "backup", archive).exit_code == 1
    assert run(raydeck, "restore", archive).exit_code == 1
    restored = run(raydeck, "restore", archive, "--state-dir", str(tmp_path / "other"))
    assert restored.exit_code == 0
    assert run(raydeck, "user", "list", "--state-dir", str(tmp_path / "other")).output == run(raydeck, "user", "list").output
    assert run(raydeck, "audit", "verify", "--state-dir", str(tmp_path / "other")).exit_code == 0


def test_a_wrong_state_folder_is_a_configuration_error(raydeck: click.Group, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    (folder / "journal.db").touch()
    result = run(raydeck, "user", "list", "--state-dir", str(folder))
    assert result.exit_code == 78
    assert "chmod 700" in result.stderr


def test_a_link_for_a_user_signs_in_once(raydeck: click.Group, tmp_path: Path) -> None:
    with_admin(raydeck)
    printed = run(raydeck, "user", "link", "ada").output.strip()
    assert printed.startswith("/login?token=")
    journal = opened(tmp_path)
    token = printed.partition("token=")[2]
    used = [journal.use_sign_in_link(token, time.time()) for _ in range(2)]
    journal.close()
    assert [user.name if user else None for user in used] == ["ada", None]
    assert run(raydeck, "user", "link", "eve").exit_code == 1
