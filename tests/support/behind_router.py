"""What is expected of tests that tests.support.router runs behind MySQL Router.

With connection_sharing the Router refuses some statements. A test that fails with such an error is
reported as an expected failure, because no pool can make it pass.
"""

import os

KIND = os.environ.get("BEHIND_ROUTER", "")
"""plain or sharing; empty: there is no Router."""

SHARING = KIND == "sharing"

REFUSED = frozenset({3566, 4501})
"""Errors of the Router itself."""

REASON = "MySQL Router refused a statement"


def refusal(error: BaseException | None) -> str | None:
    """Why *error* is expected; ``None``: it is not."""
    number = error.args[0] if error is not None and error.args else None
    return f"{REASON}: error {number}" if SHARING and number in REFUSED else None
