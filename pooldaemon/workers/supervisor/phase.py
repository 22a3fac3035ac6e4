"""Runs in the parent: the life of a daemon."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """Where the daemon is in its life."""

    STARTING = "starting"  # one worker tries; the others start when it is ready
    RUNNING = "running"
    DRAINING = "draining"
