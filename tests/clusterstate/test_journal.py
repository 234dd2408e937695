"""Users, tokens and one-time links of the journal."""

from __future__ import annotations

import os
import sqlite3
import stat
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterstate.journal import BadAccount, Journal, JournalTooNew, JournalUnavailable, User, role_is_enough
from tests.open_files import open_files

NOW = 1_800_000_000.0
PASSWORD = "correct horse battery"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / "journal.db")
    yield journal
    journal.close()


def with_users(journal: Journal) -> tuple[User, User]:
    ada = journal.add_user("ada", PASSWORD, "admin", "cli:root", NOW)
    bob = journal.add_user("bob", None, "viewer", "ada", NOW)
    return ada, bob


def stored_bytes(journal: Journal) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(journal.path.parent.iterdir()))


def test_the_file_and_its_folder_are_for_their_owner_alone(journal: Journal) -> None:
    with_users(journal)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in journal.path.parent.iterdir()}
    assert modes["journal.db"] == 0o600
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch(mode=0o644)
    Journal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(JournalUnavailable):
        Journal(tmp_path / "journal.db")


def test_a_fresh_journal_has_no_users_and_no_default_password(journal: Journal) -> None:
    assert not journal.has_users()
    assert all(journal.verify_password(name, word, NOW) is None for name in ("admin", "root", "ray") for word in ("admin", "", "password"))


def test_what_was_added_is_there_after_opening_again(journal: Journal) -> None:
    ada, bob = with_users(journal)
    journal.close()
    again = Journal(journal.path)
    assert again.users() == [ada, bob]
    assert again.has_users()
    again.close()


@pytest.mark.parametrize("name", ["", "a" * 65, ".ada", "ada lovelace", "ada\n", "cli:root", "аda", "<b>", "\ud800"])
def test_a_user_name_that_could_mislead_is_refused(journal: Journal, name: str) -> None:
    with pytest.raises(BadAccount, match="cannot be a user name"):
        journal.add_user(name, PASSWORD, "viewer", "cli:root", NOW)


def test_two_names_cannot_differ_in_case_alone(journal: Journal) -> None:
    with_users(journal)
    with pytest.raises(BadAccount, match="already"):
        journal.add_user("ADA", PASSWORD, "viewer", "cli:root", NOW)
    assert journal.user("Ada") == journal.user("ada")


@pytest.mark.parametrize("password", ["short", "x" * 1025, "aaaaaaaaaa", "lovelace", "\ud800" * 10])
def test_a_weak_password_is_refused_with_a_sentence(journal: Journal, password: str) -> None:
    with pytest.raises(BadAccount, match="password"):
        journal.add_user("lovelace", password, "viewer", "cli:root", NOW)


def test_an_unknown_role_is_refused(journal: Journal) -> None:
    with pytest.raises(BadAccount, match="viewer, operator, admin"):
        journal.add_user("eve", PASSWORD, "root", "cli:root", NOW)


def test_a_role_may_do_what_lesser_roles_may() -> None:
    assert role_is_enough("admin", "operator")
    assert not role_is_enough("viewer", "operator")
    assert not role_is_enough("nobody", "viewer")


def test_passwords_are_stored_as_argon2id_and_differ_for_the_same_word(journal: Journal) -> None:
    journal.add_user("ada", PASSWORD, "admin", "cli:root", NOW)
    journal.add_user("bob", PASSWORD, "admin", "cli:root", NOW)
    with sqlite3.connect(journal.path) as connection:
        hashes = [row[0] for row in connection.execute("SELECT password_hash FROM users")]
    connection.close()
    assert len(set(hashes)) == 2
    assert all(text.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for text in hashes)
    assert PASSWORD.encode() not in stored_bytes(journal)


def test_only_the_right_password_of_an_enabled_user_signs_in(journal: Journal) -> None:
    ada, _ = with_users(journal)
    journal.add_user("eve", PASSWORD, "admin", "ada", NOW)
    journal.disable("eve", "ada", NOW)
    assert journal.verify_password("ada", PASSWORD, NOW) == ada
    assert journal.verify_password("ada", PASSWORD + " ", NOW) is None
    assert journal.verify_password("ada", "x" * 100_000, NOW) is None
    assert journal.verify_password("bob", "", NOW) is None
    assert journal.verify_password("eve", PASSWORD, NOW) is None
    assert journal.verify_password("nobody", PASSWORD, NOW) is None


def test_a_password_may_be_typed_on_any_keyboard(journal: Journal) -> None:
    journal.add_user("zoe", "cafe\u0301 au lait", "viewer", "cli:root", NOW)
    assert journal.verify_password("zoe", "caf\u00e9 au lait", NOW)


def test_a_wrong_password_takes_as_long_for_an_unknown_user(journal: Journal) -> None:
    with_users(journal)

    def median_time(name: str) -> float:
        times = []
        for _ in range(9):
            start = time.thread_time()
            journal.verify_password(name, "wrong password", NOW)
            times.append(time.thread_time() - start)
        return statistics.median(times)

    known, unknown, without = median_time("ada"), median_time("nobody"), median_time("bob")
    assert max(known, unknown, without) < 1.6 * min(known, unknown, without)


def test_each_change_of_an_account_ends_older_sign_ins(journal: Journal) -> None:
    _, bob = with_users(journal)
    epochs = [
        bob.auth_epoch,
        journal.change_password("bob", PASSWORD, "bob", NOW).auth_epoch,
        journal.set_role("bob", "operator", "ada", NOW).auth_epoch,
        journal.disable("bob", "ada", NOW).auth_epoch,
        journal.enable("bob", "ada", NOW).auth_epoch,
    ]
    assert epochs == sorted(set(epochs))


def test_setting_what_is_already_so_changes_nothing(journal: Journal) -> None:
    _, bob = with_users(journal)
    assert journal.set_role("bob", "viewer", "ada", NOW) == bob
    assert journal.enable("bob", "ada", NOW) == bob


def test_the_last_admin_cannot_be_disabled_or_made_less(journal: Journal) -> None:
    with_users(journal)
    with pytest.raises(BadAccount, match="only admin"):
        journal.disable("ada", "ada", NOW)
    with pytest.raises(BadAccount, match="only admin"):
        journal.set_role("ada", "viewer", "ada", NOW)
    journal.set_role("bob", "admin", "ada", NOW)
    assert journal.disable("ada", "bob", NOW).disabled


def test_changing_an_unknown_user_is_a_clear_error(journal: Journal) -> None:
    with pytest.raises(BadAccount, match="no user 'eve'"):
        journal.disable("eve", "x", NOW)
    with pytest.raises(BadAccount, match="no user 'eve'"):
        journal.change_password("eve", PASSWORD, "x", NOW)


def test_a_sign_in_link_works_once_within_ten_minutes(journal: Journal) -> None:
    ada, _ = with_users(journal)
    text = journal.new_sign_in_link("ada", NOW)
    assert journal.use_sign_in_link(text, NOW + 599) == ada
    assert journal.use_sign_in_link(text, NOW + 599) is None
    late = journal.new_sign_in_link("ada", NOW)
    assert journal.use_sign_in_link(late, NOW + 600) is None
    assert journal.use_sign_in_link("\ud800", NOW) is None


def test_a_sign_in_link_ends_when_the_account_changes(journal: Journal) -> None:
    with_users(journal)
    text = journal.new_sign_in_link("bob", NOW)
    journal.set_role("bob", "operator", "ada", NOW)
    assert journal.use_sign_in_link(text, NOW) is None
    journal.disable("bob", "ada", NOW)
    with pytest.raises(BadAccount, match="disabled"):
        journal.new_sign_in_link("bob", NOW)


def test_a_token_opens_what_its_role_and_its_owners_role_allow(journal: Journal) -> None:
    ada, _ = with_users(journal)
    text = journal.new_token("ada", "ci", "operator", NOW)
    assert journal.verify_token(text, NOW) == (ada, "operator")
    journal.set_role("bob", "admin", "ada", NOW)
    journal.set_role("ada", "viewer", "bob", NOW)
    verified = journal.verify_token(text, NOW)
    assert verified is not None
    assert verified[1] == "viewer"
    journal.disable("ada", "bob", NOW)
    assert journal.verify_token(text, NOW) is None


def test_a_token_cannot_be_more_than_its_owner(journal: Journal) -> None:
    with_users(journal)
    with pytest.raises(BadAccount, match="viewer at most"):
        journal.new_token("bob", "ci", "operator", NOW)


def test_secrets_are_nowhere_in_the_file(journal: Journal) -> None:
    with_users(journal)
    token, link = journal.new_token("ada", "ci", "admin", NOW), journal.new_sign_in_link("ada", NOW)
    stored = stored_bytes(journal)
    assert token.rpartition("_")[2].encode() not in stored
    assert link.encode() not in stored


def test_an_expired_or_revoked_or_changed_token_opens_nothing(journal: Journal) -> None:
    with_users(journal)
    text = journal.new_token("ada", "ci", "viewer", NOW, expires=NOW + 10)
    assert journal.verify_token(text, NOW + 9.9)
    assert journal.verify_token(text, NOW + 10) is None
    changed = text[:-1] + ("0" if text[-1] != "0" else "1")
    for wrong in (changed, text.upper(), text + "0", "", "rd_", "x" * 80, "rd_\u00e9" + text[4:], text[:16] + "\ud800" * 64):
        assert journal.verify_token(wrong, NOW) is None
    token = journal.tokens("ada")[0]
    journal.revoke_token(token.token_id, "bob", NOW)
    journal.revoke_token(token.token_id, "eve", NOW + 1)
    assert journal.verify_token(text, NOW) is None
    assert journal.tokens()[0].revoked_by == "bob"
    with pytest.raises(BadAccount, match="no token"):
        journal.revoke_token("\ud800", "ada", NOW)


def test_a_token_of_a_run_dies_with_it(journal: Journal) -> None:
    with_users(journal)
    first = journal.new_token("ada", "ready file", "admin", NOW, instance="run-1")
    second = journal.new_token("ada", "ready file", "admin", NOW, instance="run-2")
    lasting = journal.new_token("ada", "ci", "admin", NOW)
    assert journal.revoke_other_instances("run-2", NOW) == 1
    assert [journal.verify_token(text, NOW) is not None for text in (first, second, lasting)] == [False, True, True]
    assert journal.revoke_instance("run-2", NOW) == 1
    assert [journal.verify_token(text, NOW) is not None for text in (first, second, lasting)] == [False, False, True]


def test_a_journal_of_a_newer_raydeck_is_refused(journal: Journal) -> None:
    with sqlite3.connect(journal.path) as connection:
        connection.execute("PRAGMA user_version=1000")
    connection.close()
    journal.close()
    with pytest.raises(JournalTooNew, match="1000") as refused:
        Journal(journal.path)
    assert refused.tb, "whoever looks at the error does not keep the file open"
    assert open_files(journal.path) == []


def test_a_journal_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(JournalUnavailable, match=r"journal\.db cannot be used"):
        Journal(path)
