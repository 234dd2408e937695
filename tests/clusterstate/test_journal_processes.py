"""The journal with several processes at once, and with processes that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from clusterstate.journal import Journal, User

NOW = 1_800_000_000.0

WRITE_MANY = """
import sys
from pathlib import Path
from clusterstate.journal import Journal
journal, name = Journal(Path(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    seq = journal.audit_intent(name, "test.step", {"number": number}, 1.0)
    journal.audit_result(seq, "done", 2.0)
"""

WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from clusterstate.journal import Journal, Operation
journal = Journal(Path(sys.argv[1]))
for number in itertools.count():
    submission_id = f"{sys.argv[2]}-{number}"
    asked = Operation(submission_id, "demo", "session_1", "job.submit", submission_id, "ada", 1.0, {"text": "x" * 500})
    journal.record_operation(asked, b"sealed", {})
    seq = journal.audit("ada", "test.record", {"submission_id": submission_id}, 1.0)
    print(submission_id, seq, flush=True)
"""

USE_LINK = """
import sys
from pathlib import Path
from clusterstate.journal import Journal
journal = Journal(Path(sys.argv[1]))
sys.stdin.readline()
print(journal.use_sign_in_link(sys.argv[2], 1.0) is not None)
"""


def start(code: str, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=stdin, stdout=subprocess.PIPE, text=True)


def test_several_processes_create_and_write_one_journal_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writers = [start(WRITE_MANY, str(path), f"writer-{number}", "20") for number in range(4)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    journal = Journal(path)
    report = journal.verify_audit()
    records = journal.audit_records(limit=1000)
    journal.close()
    assert report.is_whole
    assert report.count == 160
    assert {sum(1 for one in records if one.who == f"writer-{number}") for number in range(4)} == {40}


def test_what_was_acknowledged_survives_kill_9_in_the_middle_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    acknowledged: list[tuple[str, int]] = []
    for run in range(3):
        writer = start(WRITE_FOR_EVER, str(path), f"run{run}")
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(15 + run * 7)]
        writer.kill()
        lines += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait(10)
        acknowledged += [(words[0], int(words[1])) for words in (line.split() for line in lines if line.endswith("\n"))]

    journal = Journal(path)
    kept = {one.target for one in journal.unfinished_operations()}
    journal_records = journal.audit_records(limit=10_000)
    records = {one.seq: one.detail["submission_id"] for one in journal_records}
    report = journal.verify_audit()
    journal.close()
    submitted = {str(one.detail["submission_id"]) for one in journal_records if one.action == "job.submit"}
    assert len(acknowledged) >= 60
    assert kept == submitted, "no operation without its audit record, and none the other way round"
    assert {submission_id for submission_id, _ in acknowledged} <= kept
    assert all(records[seq] == submission_id for submission_id, seq in acknowledged)
    assert report.is_whole


def test_of_several_who_use_a_link_at_once_one_is_signed_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.add_user("ada", None, "admin", "cli:root", 0.0)
    link = journal.new_sign_in_link("ada", 0.0)
    users = [start(USE_LINK, str(journal.path), link, stdin=subprocess.PIPE) for _ in range(4)]
    answers = []
    for user in users:
        assert user.stdin is not None
        user.stdin.write("go\n")
        user.stdin.flush()
    for user in users:
        answers.append(user.communicate(timeout=30)[0].strip())
    journal.close()
    assert sorted(answers) == ["False", "False", "False", "True"]


def test_several_threads_of_one_process_share_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    threads = [threading.Thread(target=lambda: [journal.audit("ada", "test", {}, NOW) for _ in range(10)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = journal.verify_audit()
    journal.close()
    assert report.is_whole
    assert report.count == 60


def test_a_forked_child_writes_with_connections_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    parent_user = journal.add_user("ada", None, "admin", "cli:root", NOW)
    child = os.fork()
    if child == 0:
        seq = journal.audit("child", "test", {}, NOW)
        os._exit(0 if seq == 2 and isinstance(journal.user("ada"), User) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert journal.audit("parent", "test", {}, NOW) == 3
    assert journal.user("ada") == parent_user
    assert journal.verify_audit().is_whole
    journal.close()
