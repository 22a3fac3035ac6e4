"""The answer of a daemon with two workers to ``status``."""

import math
import random
from typing import Any

WAIT = {"counts": [90, 6, 2, 1, 1, 0, 0, 0, 0, 0], "total": 0.2}


def pool(**changes: Any) -> dict[str, Any]:
    return {
        "name": "mysql shop@db.internal/shop",
        "alias": "default",
        "poolclass": "FairQueuePool",
        "cap": 4,
        "total": 3,
        "peak": 4,
        "in_use": 2,
        "idle": 1,
        "waiting": 0,
        "paused": False,
        "timeouts": 0,
        "rejected": 0,
        "connects": 5,
        "connect_errors": 0,
        "resets": 0,
        "discards": {"dead": 1},
        "wait": WAIT,
        "use": WAIT,
        "connect": WAIT,
        "holders": [
            {
                "thread": "worker-1/thread-2",
                "seconds": 3.2,
                "place": "shop/orders.py:31 in checkout",
            }
        ],
        **changes,
    }


def worker(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"worker-{number}",
        "pid": 4711 + number,
        "state": "ready",
        "age": 4000.5,
        "units": 12345,
        "failures": 2,
        "busy": 1,
        "rss": 64 << 20,
        "crashes": 0,
        "restarts": 1,
        "running": [
            {"thread": f"worker-{number}/thread-2", "seconds": 3.2, "done": 5, "total": 10},
            {"thread": f"worker-{number}/thread-3", "seconds": 0.2, "done": None, "total": None},
        ],
        "pools": [pool()],
        **changes,
    }


def status(pid: int = 4711, **changes: Any) -> dict[str, Any]:
    return {
        "command": "deliver_webhooks",
        "name": "deliver_webhooks",
        "pid": pid,
        "state": "running",
        "uptime": 86400.0,
        "ready": True,
        "processes": 2,
        "last_death": None,
        "reload": {"state": "done", "number": 1},
        "units": 24690,
        "failures": 4,
        "restarts": 2,
        "workers": [worker(1), worker(2)],
        **changes,
    }


class Day:
    """The same daemon under a load that rises and falls, second by second."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._units = 24690
        self._counts = list(WAIT["counts"])

    def second(self, number: int) -> dict[str, Any]:
        load = 0.55 + 0.4 * math.sin(number / 9) + self._random.uniform(-0.1, 0.1)
        self._units += round(220 * load)
        for bucket, share in enumerate((150, 30, 14, 20 * load, 6 * load, load)):
            self._counts[bucket] += round(share * load)
        workers = [
            worker(
                place,
                units=self._units // 2,
                age=4000.5 + number,
                running=self._running(place),
                pools=[self._pool(place, load)],
            )
            for place in (1, 2)
        ]
        restarts = 2 + (number > 35)
        return status(units=self._units, restarts=restarts, workers=workers, controlled=True)

    def _running(self, place: int) -> list[dict[str, Any]]:
        done = self._random.randrange(10, 95)
        export = {"thread": f"worker-{place}/thread-2", "done": done, "total": 100}
        send = {"thread": f"worker-{place}/thread-5", "done": None, "total": None}
        return [{**export, "seconds": done / 4}, {**send, "seconds": 0.2}]

    def _pool(self, place: int, load: float) -> dict[str, Any]:
        in_use = max(0, min(4, round(4.4 * load)))
        places = ("shop/exports.py:88 in export", "shop/orders.py:31 in checkout")
        holders = [
            {"thread": f"worker-{place}/thread-{2 + 3 * i}", "seconds": 3.2 / (1 + i), "place": at}
            for i, at in enumerate(places[:in_use])
        ]
        wait = {"counts": [*self._counts], "total": 1.0}
        waiting = max(0, round(8 * (load - 0.75)))
        return pool(in_use=in_use, idle=4 - in_use, waiting=waiting, wait=wait, holders=holders)
