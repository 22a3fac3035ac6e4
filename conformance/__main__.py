"""Compare our backend with Django's by Django's own test suite, test by test.

Without APP, all of it, one app after the other. Fails if a test ends otherwise on our backend, in
either mode, and conformance/differences.toml does not list it.

    python -m conformance packages [NAME…]

does the same with the tests of other packages: see conformance/packages.toml.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from conformance.backends import OURS
from conformance.comparison import Comparison
from conformance.kept import Kept, directory
from conformance.packages import Packages
from conformance.suite import Suite, SuiteError, batches


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument(
        "labels", nargs="*", metavar="APP", help="or a module, class or test, by its dotted path"
    )
    parser.add_argument("--mode", choices=OURS, action="append", help="default: each in turn")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was interrupted: what has run by now is not run again",
    )
    options = parser.parse_args(arguments)
    if not os.environ.get("DATABASE_URL", "").startswith(("mysql://", "mariadb://")):
        parser.error("DATABASE_URL must be mysql://user:password@host/name or mariadb://…")
    suite: Suite | Packages
    try:
        if options.labels[:1] == ["packages"]:
            suite = Packages()
            labels = options.labels[1:] or suite.names()
            together = [[label] for label in labels]
        else:
            suite = Suite()
            labels = options.labels or suite.apps()
            together = list(batches(labels))
        kept = Kept(directory())
    except SuiteError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    if not options.resume:
        kept.forget(labels)
    comparison = Comparison(suite, kept, options.mode or list(OURS))
    try:
        for some in together:
            comparison.compare(some)
    except KeyboardInterrupt:
        comparison.report()
        print("interrupted; with --resume it goes on", file=sys.stderr)
        return 130
    return comparison.report()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
