"""``python -m pooldaemon ACTION --pidfile FILE``: operate a running daemon without its project.

Neither the settings nor the code of the project are loaded: they may be broken.
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
        description="Operate a running daemon, without loading the settings of its project.",
    )
    parser.add_argument("action", nargs="+", help=f"{', '.join(ASKING)}; scale N")
    parser.add_argument("--pidfile", metavar="FILE", required=True, help="the daemon's pidfile")
    parser.add_argument("--json", action="store_true", help="with status: print JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    :param arguments: default: those of this process.
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
