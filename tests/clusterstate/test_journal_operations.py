"""Operations in the journal: recorded with their audit trail, taken once, ended once, and sealed while they wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clusterstate.journal import Journal, Operation, OperationExists
from clusterstate.journal.records import DONE, QUEUED, REFUSED, SENDING, UNKNOWN
from clusterstate.journal.schema import MIGRATIONS
from clusterstate.journal.sealing import BrokenSeal, seal, unseal

NOW = 1_800_000_000.0
KEY = b"k" * 32
SUBMIT = Operation("one", "demo", "session_1", "job.submit", "raysubmit_1", "ada", NOW, {"entrypoint": "python x.py"})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


def test_an_operation_is_recorded_with_its_intent_and_ends_with_its_result(journal: Journal) -> None:
    recorded = journal.record_operation(SUBMIT, b"sealed", {"peer": "127.0.0.1"})
    assert (recorded.state, recorded.tries) == (QUEUED, 0)
    assert journal.finish_operation("one", DONE, "Ray has it.", NOW + 1)
    assert not journal.finish_operation("one", REFUSED, "no", NOW + 2), "an outcome is never replaced"

    intent, result = journal.audit_records()
    assert (intent.kind, intent.who, intent.action) == ("intent", "ada", "job.submit")
    assert intent.detail == {
        "operation_id": "one",
        "cluster": "demo",
        "session": "session_1",
        "submission_id": "raysubmit_1",
        "entrypoint": "python x.py",
        "peer": "127.0.0.1",
    }
    assert (result.kind, result.intent, result.detail) == ("result", intent.seq, {"state": DONE, "outcome": "Ray has it."})
    assert journal.verify_audit().is_whole
    assert journal.unfinished_operations() == []


def test_a_submission_id_is_recorded_once_a_session_unless_it_was_refused(journal: Journal) -> None:
    journal.record_operation(SUBMIT, b"sealed", {})
    again = replace(SUBMIT, operation_id="two")
    with pytest.raises(OperationExists, match="raysubmit_1"):
        journal.record_operation(again, b"sealed", {})
    assert len(journal.audit_records()) == 1, "what was not recorded leaves no intent"

    journal.record_operation(replace(again, operation_id="three", session="session_2"), b"sealed", {})
    journal.finish_operation("one", REFUSED, "no", NOW)
    journal.record_operation(again, b"sealed", {})
    assert [one.operation_id for one in journal.operations_of("demo", "session_1", "raysubmit_1")] == ["two", "one"]


def test_an_operation_is_taken_by_one(journal: Journal) -> None:
    journal.record_operation(SUBMIT, b"sealed", {})
    for cluster, action in (("other", "job.submit"), ("demo", "job.stop")):
        assert journal.take_operation("one", cluster, action, NOW) is None
    taken = journal.take_operation("one", "demo", "job.submit", NOW + 1)
    assert taken is not None
    assert (taken[0].state, taken[0].tries, taken[1]) == (SENDING, 1, b"sealed")
    assert journal.take_operation("one", "demo", "job.submit", NOW + 2) is None, "it is under way"
    assert journal.take_operation("two", "demo", "job.submit", NOW) is None


def test_what_was_under_way_when_its_worker_died_is_of_unknown_outcome(journal: Journal) -> None:
    journal.record_operation(SUBMIT, b"sealed", {})
    journal.record_operation(replace(SUBMIT, operation_id="two", target="raysubmit_2"), b"sealed", {})
    journal.take_operation("one", "demo", "job.submit", NOW)
    assert journal.interrupt_operations("other", None, "died") == 0
    assert journal.interrupt_operations("demo", "two", "died") == 0
    assert journal.interrupt_operations("demo", None, "died") == 1
    assert [(one.state, one.outcome) for one in journal.unfinished_operations("demo")] == [(UNKNOWN, "died"), (QUEUED, None)]
    assert journal.take_operation("one", "demo", "job.submit", NOW) is not None, "it may be looked into"
    assert journal.put_operation_back("one", QUEUED, "not reachable")
    assert not journal.put_operation_back("one", QUEUED, "again")


def test_the_sealed_request_goes_when_the_outcome_is_known(journal: Journal) -> None:
    journal.record_operation(SUBMIT, b"sealed", {})
    journal.finish_operation("one", DONE, "Ray has it.", NOW)
    with sqlite3.connect(journal.path) as connection:
        assert connection.execute("SELECT sealed FROM operations").fetchall() == [(None,)]
    connection.close()


def test_a_seal_opens_with_its_key_for_its_purpose_and_unchanged() -> None:
    sealed = seal(KEY, "one", b"DB_PASSWORD=hunter2")
    assert unseal(KEY, "one", sealed) == b"DB_PASSWORD=hunter2"
    assert b"hunter2" not in sealed
    assert sealed != seal(KEY, "one", b"DB_PASSWORD=hunter2"), "the same text never looks the same"
    assert unseal(KEY, "one", seal(KEY, "one", b"")) == b""
    flipped = bytes([*sealed[:40], sealed[40] ^ 1, *sealed[41:]])
    for key, what_for, text in (
        (b"x" * 32, "one", sealed),
        (KEY, "two", sealed),
        (KEY, "one", flipped),
        (KEY, "one", sealed[:-1]),
        (KEY, "one", sealed[:20]),
        (KEY, "one", b""),
    ):
        with pytest.raises(BrokenSeal):
            unseal(key, what_for, text)


def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version=1")
    connection.close()
    journal = Journal(path)
    journal.record_operation(SUBMIT, b"sealed", {})
    assert len(journal.unfinished_operations()) == 1
    journal.close()
