"""`raydeck backup` and `raydeck restore`: what cannot be made again, in one file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from clusterstate.backup import BackupReport, BadBackup, back_up
from clusterstate.backup import restore as restore_archive
from clusterstate.journal import JournalUnavailable
from clusterstate.settings import BadSetting
from webapp.commands.state import open_journal, settings_of, state_dir_option, when, who_asks

archive_argument = click.argument("archive", metavar="FILE", type=click.Path(path_type=Path))


@click.command()
@archive_argument
@state_dir_option
def backup(archive: Path, state_dir: Path | None) -> None:
    """Write users, tokens, audit trail, submissions, keys and ended sessions to a new FILE. Raydeck may run meanwhile.

    The file holds keys and password hashes: keep it as safe as the state folder.
    """
    now = time.time()
    folder = settings_of(state_dir).state_dir
    with open_journal(state_dir) as journal:
        journal.audit(who_asks(), "backup", {"file": str(archive)}, now)
    try:
        report = back_up(folder, archive, now)
    except (BadBackup, JournalUnavailable, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Wrote {archive}: {_summary(report)}")


@click.command()
@archive_argument
@click.option("--replace", is_flag=True, help="Set aside the journal and keys that are there already, in replaced-<time>.")
@state_dir_option
def restore(archive: Path, replace: bool, state_dir: Path | None) -> None:
    """Put what FILE holds into the state folder. Refused while Raydeck runs there."""
    now = time.time()
    folder = settings_of(state_dir).state_dir
    try:
        report = restore_archive(archive, folder, now, replace)
    except (BadBackup, BadSetting, JournalUnavailable, OSError) as error:
        raise click.ClickException(str(error)) from error
    with open_journal(state_dir) as journal:
        journal.audit(who_asks(), "restore", {"file": str(archive), "backup_of": report.created_at}, now)
    click.echo(f"Restored the backup of {when(report.created_at)} into {folder}: {_summary(report)}")
    if not report.audit.is_whole:
        click.echo(f"Its audit trail is not as it was written. First bad record: {report.audit.problems[0].seq}.", err=True)


def _summary(report: BackupReport) -> str:
    return f"{report.audit.count} audit records, {report.sessions} ended sessions, {report.total_bytes / 1e6:.1f} MB."


commands: list[click.Command] = [backup, restore]
