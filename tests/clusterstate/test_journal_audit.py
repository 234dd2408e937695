"""The audit trail: complete, one line a record, and any change of it shows."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterstate.journal import AuditReport, Journal
from clusterstate.journal.audit import NoSuchIntent

NOW = 1_800_000_000.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


def with_records(journal: Journal, count: int = 6) -> None:
    for number in range(count // 2):
        seq = journal.audit_intent("ada", "job.stop", {"job": f"raysubmit_{number}"}, NOW + number)
        journal.audit_result(seq, "stopped", NOW + number + 0.5)


def tampered(journal: Journal, *statements: str) -> AuditReport:
    """The check's word after somebody changed the file by hand."""
    journal.close()
    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER IF EXISTS audit_is_not_changed")
        connection.execute("DROP TRIGGER IF EXISTS audit_is_not_deleted")
        for statement in statements:
            connection.execute(statement)
    return journal.verify_audit()


def test_an_untouched_trail_is_whole(journal: Journal) -> None:
    assert journal.verify_audit().is_whole
    with_records(journal)
    report = journal.verify_audit()
    assert report.is_whole
    assert (report.count, report.head_seq) == (6, 6)
    assert report.head_hash == journal.audit_records()[-1].hash


@pytest.mark.parametrize(
    ("change", "first_bad"),
    [
        ("UPDATE audit SET detail = replace(detail, 'raysubmit_1', 'raysubmit_9') WHERE seq = 3", 3),
        ("UPDATE audit SET who = 'eve' WHERE seq = 4", 4),
        ("UPDATE audit SET at = at + 1 WHERE seq = 2", 2),
        ("UPDATE audit SET intent = NULL WHERE seq = 2", 2),
        ("UPDATE audit SET who = x'00ff' WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq >= 5", 5),
        ("DELETE FROM audit", 1),
        ("UPDATE audit_head SET seq = 4", 4),
        ("DELETE FROM audit_head", 1),
    ],
)
def test_a_change_is_found_and_the_first_bad_record_named(journal: Journal, change: str, first_bad: int) -> None:
    with_records(journal)
    report = tampered(journal, change)
    assert not report.is_whole
    assert report.problems[0].seq == first_bad
    assert str(first_bad) in report.problems[0].sentence


def test_two_swapped_records_are_found(journal: Journal) -> None:
    with_records(journal)
    report = tampered(
        journal,
        "UPDATE audit SET seq = -3 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = -3",
    )
    assert report.problems[0].seq == 3


def test_a_flipped_byte_in_the_file_is_found(journal: Journal) -> None:
    with_records(journal)
    journal.close()
    content = bytearray(journal.path.read_bytes())
    place = content.index(b"raysubmit_1")
    content[place] ^= 1
    journal.path.write_bytes(content)
    assert journal.verify_audit().problems[0].seq == 3


def test_records_cannot_be_changed_or_deleted_by_mistake(journal: Journal) -> None:
    with_records(journal)
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:
        for statement in ("UPDATE audit SET who = 'eve'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(statement)


def test_an_effect_has_one_intent_and_one_result(journal: Journal) -> None:
    seq = journal.audit_intent("ada", "job.stop", {"job": "1"}, NOW)
    assert [one.seq for one in journal.audit_open_intents()] == [seq]
    result = journal.audit_result(seq, {"outcome": "stopped"}, NOW + 1)
    assert journal.audit_open_intents() == []
    for wrong in (seq, result, 999):
        with pytest.raises(NoSuchIntent):
            journal.audit_result(wrong, "again", NOW + 2)
    records = journal.audit_records()
    assert [(one.kind, one.who, one.action, one.intent) for one in records] == [
        ("intent", "ada", "job.stop", None),
        ("result", "ada", "job.stop", seq),
    ]


def test_every_change_of_an_account_is_recorded_with_who_did_it(journal: Journal) -> None:
    journal.add_user("ada", None, "admin", "cli:root", NOW)
    journal.add_user("bob", None, "viewer", "ada", NOW)
    journal.set_role("bob", "operator", "ada", NOW)
    journal.change_password("bob", "correct horse", "bob", NOW)
    journal.use_sign_in_link(journal.new_sign_in_link("bob", NOW), NOW)
    journal.new_token("bob", "ci", "viewer", NOW)
    journal.revoke_token(journal.tokens()[0].token_id, "ada", NOW)
    journal.disable("bob", "ada", NOW)
    assert [(one.who, one.action) for one in journal.audit_records()] == [
        ("cli:root", "user.add"),
        ("ada", "user.add"),
        ("ada", "user.role"),
        ("bob", "user.password"),
        ("bob", "sign_in_link.new"),
        ("bob", "sign_in_link.use"),
        ("bob", "token.new"),
        ("ada", "token.revoke"),
        ("ada", "user.disable"),
    ]


def test_a_refused_change_leaves_no_record(journal: Journal) -> None:
    journal.add_user("ada", None, "admin", "cli:root", NOW)
    with pytest.raises(ValueError, match="already"):
        journal.add_user("ada", None, "admin", "cli:root", NOW)
    assert len(journal.audit_records()) == 1


def test_hostile_words_stay_within_their_record(journal: Journal) -> None:
    hostile = "x\n2 forged \x1b[31m\u202e\ud800" + "A" * 100_000
    deep: object = "bottom"
    for _ in range(50):
        deep = {"in": deep}
    journal.audit(hostile, hostile, {"name": hostile, "deep": deep, "many": list(range(10_000)), "nan": float("nan"), "odd": object}, NOW)
    assert journal.verify_audit().is_whole
    record = journal.audit_records()[0]
    assert "\n" not in _stored_detail(journal)
    assert len(_stored_detail(journal)) < 70_000
    assert str(record.detail["name"]).endswith("characters)")


def test_newest_records_come_page_by_page(journal: Journal) -> None:
    with_records(journal)
    assert [one.seq for one in journal.newest_audit_records(limit=2)] == [6, 5]
    assert [one.seq for one in journal.newest_audit_records(limit=2, before=5)] == [4, 3]
    assert [one.seq for one in journal.audit_records(after=4)] == [5, 6]


def _stored_detail(journal: Journal) -> str:
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:
        return str(connection.execute("SELECT detail FROM audit").fetchone()[0])
