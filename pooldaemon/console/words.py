"""Numbers, durations and foreign text in output for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pooldaemon.conf import count


def duration(seconds: float) -> str:
    """``"2.5 s"``, ``"3 min"``, ``"2 h 5 min"``, ``"3 d 4 h"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if hours == 0:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days == 0 else f"{days} d {hours % 24} h"


def ready_workers(ready: int, wanted: int) -> str:
    """``"2 of 3 workers ready"``; ``"3 workers ready, 2 wanted"`` while surplus workers end."""
    if ready > wanted:
        return f"{count(ready, 'worker')} ready, {wanted} wanted"
    return f"{ready} of {count(wanted, 'worker')} ready"


def scaled(answer: Mapping[str, Any]) -> str:
    """The answer to ``scale``."""
    return f"workers: {answer['processes']} (before: {answer['before']})"


def clean(text: str) -> str:
    """*text* in one line, without control characters that a terminal would interpret."""
    return "".join(char if char.isprintable() else " " for char in text)


def reload_in_words(reload: Mapping[str, Any]) -> str | None:
    """The state of a daemon's last reload; ``None`` if it is done, or there was none."""
    if reload["state"] in ("none", "done"):
        return None
    reason = f": {reload['reason']}" if reload.get("reason") else ""
    return f"reload {reload['state']}{reason}"
