"""What was promised and must outlive Redis: users, tokens, sign-in links, the audit trail, operations."""

from clusterstate.journal.audit import AuditProblem, AuditRecord, AuditReport
from clusterstate.journal.database import JournalTooNew, JournalUnavailable
from clusterstate.journal.journal import Journal
from clusterstate.journal.operations import OperationExists
from clusterstate.journal.records import ROLES, Operation, Token, User, lesser_role, role_is_enough
from clusterstate.journal.rules import BadAccount

__all__ = [
    "ROLES",
    "AuditProblem",
    "AuditRecord",
    "AuditReport",
    "BadAccount",
    "Journal",
    "JournalTooNew",
    "JournalUnavailable",
    "Operation",
    "OperationExists",
    "Token",
    "User",
    "lesser_role",
    "role_is_enough",
]
