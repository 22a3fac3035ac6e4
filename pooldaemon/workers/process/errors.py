"""Errors as text for a log line, a message or a status."""

from __future__ import annotations


def in_a_line(error: BaseException) -> str:
    """An error's class and message, in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {reason}"
