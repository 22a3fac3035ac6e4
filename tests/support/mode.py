"""POOL_MODE=transaction runs the tests of MySQL's backend in that mode."""

import os
from typing import Any

import pytest

MODES = ("session", "transaction")

POOL_MODE = os.environ.get("POOL_MODE", "session")

session_mode_only = pytest.mark.skipif(
    POOL_MODE != "session", reason="what it looks at belongs to session mode"
)


def default_mode(pool: dict[str, Any]) -> str:
    """The mode of a pool that a test opens without saying which."""
    return "session" if pool.get("reset") == "always" else POOL_MODE
