"""`python -m workers.demo --folder DIR --ready-file FILE [--token]`: the demo cluster, until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from clusterstate.paths import BadFolder as FolderNotPrivate
from workers.demo.environment import BadFolder
from workers.demo.keeper import SIGNALS, keep

EXIT_CONFIGURATION = 78


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s demo %(levelname)s %(message)s")
    _lead_a_session()
    try:
        ready_file = arguments.ready_file.absolute() if arguments.ready_file else None
        return keep(arguments.folder.absolute(), ready_file, arguments.token)
    except (BadFolder, FolderNotPrivate) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="private folder of the demo, at most 35 characters")
    parser.add_argument("--ready-file", type=Path, help="0600 JSON file to write once the cluster is up")
    parser.add_argument("--token", action="store_true", help="Ray token authentication, with a token made for this run")
    return parser.parse_args()


def _lead_a_session() -> None:
    """Ray's processes stay in the keeper's session: that is how they are found after a kill.

    A job of an interactive shell leads a process group and may not lead a session: there, a child does the work.
    """
    if os.getsid(0) == os.getpid():
        return
    try:
        os.setsid()
    except PermissionError:
        child = os.fork()
        if child:
            sys.exit(_stand_in_for(child))
        os.setsid()


def _stand_in_for(child: int) -> int:
    """Pass signals on to the child, end as it ends."""

    def pass_on(signum: int, frame: FrameType | None) -> None:
        os.kill(child, signum)

    for signum in SIGNALS:
        signal.signal(signum, pass_on)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    os._exit(exit_code)  # all is cleared up; Ray's own exit hooks would look for its processes for two more seconds
