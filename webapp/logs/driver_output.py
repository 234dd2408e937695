"""Where what a driver prints goes, in words. Ray keeps a copy for submitted jobs alone. Pure."""

from __future__ import annotations

from clusterstate.model import Process

NOT_SUBMITTED = "This driver was not submitted as a job, so Ray keeps no copy of what it printed"
NOTED = "What Ray's own code in it noted is here."


def where_it_goes(process: Process | None) -> str:
    """Of a driver that was not submitted. `process` is None where it ended, or no node collector sees it."""
    stdout, stderr = (_words(process.stdout), _words(process.stderr)) if process else (None, None)
    if stdout is None and stderr is None:
        return f"{NOT_SUBMITTED}: that went where it was started (a terminal, a file, the journal). {NOTED}"
    if stdout == stderr:
        return f"{NOT_SUBMITTED}. Its stdout and stderr go to {stdout}. {NOTED}"
    named = [f"its {name} goes to {words}" for name, words in (("stdout", stdout), ("stderr", stderr)) if words]
    said = ", ".join(named)
    return f"{NOT_SUBMITTED}. {said[:1].upper()}{said[1:]}. {NOTED}"


def _words(target: str | None) -> str | None:
    if not target:
        return None
    if target == "/dev/null":
        return "/dev/null: it is lost"
    if target.startswith(("/dev/pts/", "/dev/tty", "/dev/console")):
        return f"the terminal {target}"
    if target.startswith("pipe:"):
        return "a pipe, to the program that started it"
    if target.startswith("socket:"):
        return "a socket, as that of the journal"
    return f"the file {target}" if target.startswith("/") else target
