"""Log lines as programs write them: coloured, with levels, now and then a traceback."""

from __future__ import annotations

import sys
import time
import traceback

COLOURS = {"DEBUG": "36", "INFO": "32", "WARNING": "33", "ERROR": "31;1"}


def say(level: str, text: str) -> None:
    """One line to standard output, with ANSI colours as many loggers write them to a terminal."""
    moment = time.strftime("%H:%M:%S")
    print(f"\x1b[2m{moment}\x1b[0m \x1b[{COLOURS[level]}m{level:7}\x1b[0m {text}", flush=True)


def say_traceback(text: str) -> None:
    """The exception being handled, on standard error."""
    say("ERROR", text)
    traceback.print_exc(file=sys.stderr)
    sys.stderr.flush()


def progress(done: int, total: int) -> None:
    """A progress bar that redraws its line, as tqdm does."""
    width = 20
    filled = width * done // total
    end = "\n" if done == total else ""
    print(f"\r\x1b[34m{'█' * filled}{'░' * (width - filled)}\x1b[0m {done}/{total}", end=end, flush=True)
