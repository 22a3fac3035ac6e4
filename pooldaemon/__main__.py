"""``python -m pooldaemon ACTION --pidfile FILE``: ask a daemon, whatever its project is like.

Neither settings nor code of the project are read: they may be what is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from django.core.management.base import CommandError, OutputWrapper

from pooldaemon.conf import DaemonConfig
from pooldaemon.management.actions import ASKING, Operator, asks_a_daemon, read_action


def create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pooldaemon",
        description="Ask a running daemon. Reads no settings: it works whatever they say.",
    )
    parser.add_argument("action", nargs="+", help=f"{', '.join(ASKING)}; scale N")
    parser.add_argument("--pidfile", metavar="FILE", required=True, help="the daemon's")
    parser.add_argument("--json", action="store_true", help="with status: for programs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status.

    :param arguments: default: the command line's.
    """
    parser = create_parser()
    given = parser.parse_args(arguments)
    if not asks_a_daemon(given.action):
        parser.error(f"{given.action[0]!r} is not one of {', '.join(ASKING)}")
    name = Path(given.pidfile).stem
    operator = Operator(
        name, given.pidfile, DaemonConfig.graceful_timeout, OutputWrapper(sys.stdout)
    )
    try:
        return operator.ask(read_action(given.action), as_json=given.json)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.returncode


if __name__ == "__main__":
    sys.exit(main())
