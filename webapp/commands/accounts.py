"""`raydeck user`, `raydeck token` and `raydeck audit`: accounts and the audit trail, at the terminal of the head."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from clusterstate.journal import ROLES, AuditRecord, BadAccount
from webapp.commands.lock import running_url
from webapp.commands.node_keys import collector_key, node_key
from webapp.commands.state import aligned, open_journal, printable, settings_of, state_dir_option, when, who_asks

DAY_S = 86_400.0
role_choice = click.Choice(ROLES)
from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")


@click.group()
def user() -> None:
    """People who may sign in."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=role_choice, default="viewer", show_default=True, help="What the user may do.")
@click.option("--no-password", is_flag=True, help="Sign-in by one-time link or API token only.")
@from_stdin
@state_dir_option
def add_user(name: str, role: str, no_password: bool, password_stdin: bool, state_dir: Path | None) -> None:
    """Add a user."""
    with open_journal(state_dir, create=True) as journal:
        if journal.user(name) is not None:
            raise BadAccount(f"There is a user {name} already.")
        password = None if no_password else _read_password(password_stdin)
        added = journal.add_user(name, password, role, who_asks(), time.time())
    click.echo(f"Added {added.name} as {added.role}.")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@state_dir_option
def list_users(as_json: bool, state_dir: Path | None) -> None:
    """All users."""
    with open_journal(state_dir) as journal:
        users = journal.users()
    if as_json:
        for one in users:
            shown = {
                "name": one.name,
                "role": one.role,
                "disabled": one.disabled,
                "has_password": one.has_password,
                "created_at": one.created_at,
            }
            click.echo(json.dumps(shown))
        return
    rows = [
        (
            one.name,
            one.role,
            "disabled" if one.disabled else "enabled",
            "yes" if one.has_password else "no",
            when(one.created_at),
            one.created_by,
        )
        for one in users
    ]
    click.echo(aligned(("NAME", "ROLE", "STATE", "PASSWORD", "CREATED", "BY"), rows))


@user.command("role")
@click.argument("name")
@click.argument("role", type=role_choice)
@state_dir_option
def set_role(name: str, role: str, state_dir: Path | None) -> None:
    """Change what a user may do. Ends the user's sign-ins."""
    with open_journal(state_dir) as journal:
        changed = journal.set_role(name, role, who_asks(), time.time())
    click.echo(f"{changed.name} is {changed.role} now.")


@user.command("disable")
@click.argument("name")
@state_dir_option
def disable_user(name: str, state_dir: Path | None) -> None:
    """Shut a user out: sign-ins, links and tokens end."""
    with open_journal(state_dir) as journal:
        changed = journal.disable(name, who_asks(), time.time())
    click.echo(f"{changed.name} is disabled.")


@user.command("enable")
@click.argument("name")
@state_dir_option
def enable_user(name: str, state_dir: Path | None) -> None:
    """Let a disabled user in again."""
    with open_journal(state_dir) as journal:
        changed = journal.enable(name, who_asks(), time.time())
    click.echo(f"{changed.name} is enabled.")


@user.command("link")
@click.argument("name")
@state_dir_option
def new_link(name: str, state_dir: Path | None) -> None:
    """Print a link that signs a user in once, within ten minutes."""
    with open_journal(state_dir) as journal:
        if journal.user(name) is None:
            raise BadAccount(f"There is no user {name}.")
        token = journal.new_sign_in_link(name, time.time())
    address = running_url(settings_of(state_dir).state_dir)
    click.echo(f"{address.rstrip('/')}/login?token={token}")


@user.command("password")
@click.argument("name")
@from_stdin
@state_dir_option
def change_password(name: str, password_stdin: bool, state_dir: Path | None) -> None:
    """Give a user a new password. Ends the user's sign-ins."""
    with open_journal(state_dir) as journal:
        if journal.user(name) is None:
            raise BadAccount(f"There is no user {name!a}.")
        changed = journal.change_password(name, _read_password(password_stdin), who_asks(), time.time())
    click.echo(f"{changed.name} has a new password.")


@click.group()
def token() -> None:
    """API tokens, and keys for node collectors elsewhere."""


@token.command("create")
@click.argument("owner")
@click.option("--name", required=True, help="What it is for.")
@click.option("--role", type=role_choice, default="viewer", show_default=True, help="What it may do; never more than its owner.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True, max=36_500), default=None, help="Days until it expires. Else it does not."
)
@state_dir_option
def create_token(owner: str, name: str, role: str, days: float | None, state_dir: Path | None) -> None:
    """Make a token of OWNER and print it, this once."""
    now = time.time()
    with open_journal(state_dir) as journal:
        text = journal.new_token(owner, name, role, now, expires=None if days is None else now + days * DAY_S)
    if sys.stdout.isatty():
        click.echo("Keep it safe, it is not shown again:", err=True)
    click.echo(text)


@token.command("list")
@click.option("--user", "owner", default=None, help="Of one user only.")
@state_dir_option
def list_tokens(owner: str | None, state_dir: Path | None) -> None:
    """All tokens, without their secrets."""
    now = time.time()
    with open_journal(state_dir) as journal:
        tokens = journal.tokens(owner)
    rows = []
    for one in tokens:
        state = "revoked" if one.revoked_at is not None else "live" if one.is_live(now) else "expired"
        rows.append((one.token_id, one.user, one.role, state, when(one.created_at), when(one.expires_at), one.name))
    click.echo(aligned(("ID", "USER", "ROLE", "STATE", "CREATED", "EXPIRES", "NAME"), rows))


@token.command("revoke")
@click.argument("token_id")
@state_dir_option
def revoke_token(token_id: str, state_dir: Path | None) -> None:
    """End a token. TOKEN_ID is what `raydeck token list` shows."""
    with open_journal(state_dir) as journal:
        revoked = journal.revoke_token(token_id, who_asks(), time.time())
    click.echo(f"The token {revoked.token_id} of {revoked.user} is revoked.")


@click.group()
def audit() -> None:
    """Who did what."""


@audit.command("verify")
@state_dir_option
def verify_audit(state_dir: Path | None) -> None:
    """Check that no audit record was changed, removed or reordered. Exit code 1 and the first bad record if one was."""
    with open_journal(state_dir) as journal:
        report = journal.verify_audit()
    for problem in report.problems:
        click.echo(printable(problem.sentence), err=True)
    if not report.is_whole:
        raise click.ClickException(f"The audit trail is not as it was written. First bad record: {report.problems[0].seq}.")
    click.echo(f"{report.count} records, none changed. The last: {report.head_seq} {report.head_hash}")


@audit.command("list")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@click.option("--after", type=click.IntRange(0), default=None, help="From the record after this one. Else the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@state_dir_option
def list_audit(limit: int, after: int | None, as_json: bool, state_dir: Path | None) -> None:
    """Audit records, oldest first."""
    with open_journal(state_dir) as journal:
        records = journal.newest_audit_records(limit)[::-1] if after is None else journal.audit_records(after, limit)
    for record in records:
        click.echo(_as_json(record) if as_json else _as_line(record))


def _as_json(record: AuditRecord) -> str:
    shown = {"seq": record.seq, "at": record.at, "kind": record.kind, "who": record.who, "action": record.action}
    return json.dumps({**shown, "intent": record.intent, "detail": record.detail, "hash": record.hash})


def _as_line(record: AuditRecord) -> str:
    kind = record.kind if record.intent is None else f"result of {record.intent}"
    return printable(f"{record.seq} {when(record.at)} {record.who} {record.action} [{kind}] {json.dumps(record.detail)}")


def _read_password(from_standard_input: bool) -> str:
    """Never an argument: those are seen by everybody on the machine."""
    if from_standard_input:
        return sys.stdin.readline(8192).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a password. Use --password-stdin.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


token.add_command(node_key)
token.add_command(collector_key)

commands: list[click.Command] = [user, token, audit]
