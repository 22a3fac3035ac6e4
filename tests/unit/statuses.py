"""What daemons answer, canned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pooldaemon.console.daemons import Daemon

Status = dict[str, Any]
Answer = Callable[..., Status]


class Canned(Daemon):
    """A daemon that lives, as it seems, and whose answers are made here.

    :param answer: takes the command and its values.
    """

    def __init__(self, name: str, answer: Answer, pid: int | None = 100) -> None:
        super().__init__(name, Path("/run", f"{name}.pid.sock"), pid)
        object.__setattr__(self, "_answer", answer)  # the class is frozen

    def ask(self, command: str, **values: Any) -> Status:
        answer: Status = self.__dict__["_answer"](command, **values)
        return answer


def pool(alias: str = "default", **values: Any) -> Status:
    none = {"counts": [0] * 10, "total": 0.0}
    counters = ("timeouts", "rejected", "connects", "connect_errors", "resets")
    return {
        "name": f"mysql shop@db/{alias}",
        "alias": alias,
        "poolclass": "FairQueuePool",
        "cap": 4,
        **dict.fromkeys(("total", "peak", "in_use", "idle", "waiting", *counters), 0),
        "paused": False,
        "discards": {},
        **dict.fromkeys(("wait", "use", "connect"), none),
        "holders": [],
        **values,
    }


def waits(*counts: int) -> Status:
    """So many in the shortest bucket, in the next, …"""
    return {"counts": [*counts, *[0] * (10 - len(counts))], "total": 1.0}


def worker(number: int = 1, *pools: Status, **values: Any) -> Status:
    return {
        "name": f"worker-{number}",
        "pid": 100 + number,
        "state": "ready",
        "age": 60.0,
        "silent": 0.5,
        "units": 0,
        "failures": 0,
        "busy": 0,
        "rss": 50 * 2**20,
        "crashes": 0,
        "restarts": 0,
        "running": [],
        "last_command": None,
        "pools": list(pools),
        **values,
    }


def daemon(*workers: Status, **values: Any) -> Status:
    return {
        "pid": 100,
        "state": "running",
        "uptime": 3600.0,
        "processes": len(workers),
        "last_death": None,
        "reload": {"number": 0, "state": "none", "reason": None},
        "options": {"threads": {"value": 2}, "logfile": {"value": "/var/log/shop.log"}},
        "units": 0,
        "failures": 0,
        "restarts": 0,
        "workers": list(workers),
        **values,
    }
