"""The journal's tables, as the steps that led to them. A step that was released is never changed: add one."""

from __future__ import annotations

APPLICATION_ID = 0x5261_446B  # "RaDk": tells a journal from any other SQLite file

_VERSION_1 = (
    """CREATE TABLE users (
        name TEXT PRIMARY KEY COLLATE NOCASE,
        password_hash TEXT,                      -- argon2id; NULL: cannot sign in by password
        role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
        disabled INTEGER NOT NULL DEFAULT 0,
        auth_epoch INTEGER NOT NULL DEFAULT 1,
        created_at REAL NOT NULL,
        created_by TEXT NOT NULL
    )""",
    """CREATE TABLE tokens (
        token_id TEXT PRIMARY KEY,
        secret_hash BLOB NOT NULL,               -- SHA-256 of the whole text
        user TEXT NOT NULL COLLATE NOCASE REFERENCES users (name),
        name TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
        created_at REAL NOT NULL,
        expires_at REAL,
        revoked_at REAL,
        revoked_by TEXT,
        instance TEXT
    )""",
    "CREATE INDEX tokens_of_user ON tokens (user)",
    """CREATE TABLE sign_in_links (
        secret_hash BLOB PRIMARY KEY,
        user TEXT NOT NULL COLLATE NOCASE REFERENCES users (name),
        auth_epoch INTEGER NOT NULL,             -- a later change of the account ends the link
        expires_at REAL NOT NULL
    )""",
    """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('event', 'intent', 'result')),
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        detail TEXT NOT NULL,                    -- canonical JSON
        intent INTEGER UNIQUE REFERENCES audit (seq), -- of a result: what it ends; at most one each
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    )""",
    "CREATE TABLE audit_head (only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL)",
    """CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END""",
    """CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'audit records are never deleted'); END""",
    """CREATE TABLE submissions (
        submission_id TEXT PRIMARY KEY,
        cluster TEXT NOT NULL,
        who TEXT NOT NULL,
        recorded_at REAL NOT NULL,
        request TEXT NOT NULL,                   -- JSON, without secret values
        outcome TEXT,                            -- NULL: not known yet
        finished_at REAL
    )""",
    "CREATE INDEX submissions_open ON submissions (recorded_at) WHERE outcome IS NULL",
)

_VERSION_2 = (
    """CREATE TABLE operations (
        operation_id TEXT PRIMARY KEY,
        cluster TEXT NOT NULL,
        session TEXT NOT NULL,                   -- Ray's session that it was asked of
        action TEXT NOT NULL,                    -- as in the audit trail: job.submit, job.stop
        target TEXT NOT NULL,                    -- submission id
        who TEXT NOT NULL,
        asked_at REAL NOT NULL,
        request TEXT NOT NULL,                   -- JSON, secret values masked
        sealed BLOB,                             -- the whole request, encrypted; NULL once it has ended
        state TEXT NOT NULL CHECK (state IN ('QUEUED', 'SENDING', 'UNKNOWN', 'DONE', 'REFUSED')),
        tries INTEGER NOT NULL DEFAULT 0,
        started_at REAL,                         -- the last try
        finished_at REAL,
        outcome TEXT,                            -- a sentence
        intent INTEGER NOT NULL REFERENCES audit (seq)
    )""",
    """CREATE UNIQUE INDEX operations_submit_once ON operations (cluster, session, target)
        WHERE action = 'job.submit' AND state <> 'REFUSED'""",
    "CREATE INDEX operations_open ON operations (asked_at) WHERE finished_at IS NULL",
    "CREATE INDEX operations_of_target ON operations (cluster, session, target, asked_at)",
    "DROP TABLE submissions",  # nothing ever wrote to it: a submission is an operation
)

_VERSION_3 = (
    "ALTER TABLE operations ADD COLUMN is_sent INTEGER NOT NULL DEFAULT 0",  # maybe: its outcome was unknown once
    "ALTER TABLE operations ADD COLUMN mark TEXT NOT NULL DEFAULT ''",  # a keyed digest of the whole request
    "UPDATE operations SET is_sent = 1 WHERE state IN ('SENDING', 'UNKNOWN')",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3)
