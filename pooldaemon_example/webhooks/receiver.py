"""A local HTTP server that receives webhooks, to try the daemon with: it checks signatures, counts
deliveries, and can fail or be slow."""

import hashlib
import json
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from pooldaemon_example.webhooks.signing import (
    ATTEMPT_HEADER,
    ID_HEADER,
    SIGNATURE_HEADER,
    is_genuine,
)

MAX_BODY_BYTES = 4 * 1024 * 1024
BODILESS = frozenset({204, 205, 304})
STATUS_PREFIX = "/status/"


@dataclass(frozen=True)
class Behaviour:
    secret: str
    fail_rate: float = 0
    latency: float = 0
    seed: str = ""

    def fails(self, delivery_id: str, attempt: str) -> bool:
        """Derived from the attempt, so that a seed always gives the same result, whatever the order
        of threads."""
        digest = hashlib.sha256(f"{self.seed}/{delivery_id}/{attempt}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.fail_rate * 2**64


@dataclass
class Stats:
    """The answer to `GET /stats`; `accepted` counts different deliveries."""

    requests: int = 0
    accepted: int = 0
    duplicates: int = 0
    failed: int = 0
    rejected: int = 0


@dataclass
class Ledger:
    stats: Stats = field(default_factory=Stats)
    accepted: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def enter(self, delivery_id: str, genuine: bool, status: int) -> None:
        with self.lock:
            self.stats.requests += 1
            if not genuine:
                self.stats.rejected += 1
            elif not 200 <= status < 300:
                self.stats.failed += 1
            elif self.accepted[delivery_id]:
                self.stats.duplicates += 1
            else:
                self.stats.accepted += 1
            if 200 <= status < 300:
                self.accepted[delivery_id] += 1


class Receiver(ThreadingHTTPServer):
    # With the default of 5 pending connections, a burst loses SYN packets, and each costs its
    # sender a second.
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int], behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.ledger = Ledger()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients may disconnect: workers are killed.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    # Buffered, so that headers and body are sent in one packet: separately, the second would wait
    # 40 ms for a delayed ACK.
    wbufsize = -1

    def do_GET(self) -> None:
        ledger = self.server.ledger
        with ledger.lock:
            pages = {"/stats": asdict(ledger.stats), "/deliveries": dict(ledger.accepted)}
        if self.path in pages:
            self.answer(200, pages[self.path])
        else:
            self.answer(404, {"error": f"there are {', '.join(pages)}; deliveries are POSTed"})

    def do_POST(self) -> None:
        body = self.read_body()
        if body is None:
            return
        behaviour = self.server.behaviour
        time.sleep(behaviour.latency)
        delivery_id = self.headers.get(ID_HEADER, "")
        signature = self.headers.get(SIGNATURE_HEADER, "")
        genuine = is_genuine(behaviour.secret, signature, body, time.time())
        status = self.status_for(delivery_id) if genuine else 401
        # Before the answer, so that the sender finds it counted.
        self.server.ledger.enter(delivery_id, genuine, status)
        self.answer(status, {"delivery": delivery_id, "status": status})

    def read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            self.answer(411, {"error": "Content-Length is required"})
            return None
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self.answer(413, {"error": f"the limit is {MAX_BODY_BYTES} bytes"})
            return None
        return self.rfile.read(int(length))

    def status_for(self, delivery_id: str) -> int:
        if self.path.startswith(STATUS_PREFIX):
            return _status_of(self.path)
        attempt = self.headers.get(ATTEMPT_HEADER, "")
        return 503 if self.server.behaviour.fails(delivery_id, attempt) else 200

    def answer(self, status: int, content: object) -> None:
        body = b"" if status in BODILESS else json.dumps(content).encode() + b"\n"
        self.send_response(status)
        if status not in BODILESS:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any, **kwargs: Any) -> None:
        """Requests are not logged."""


def _status_of(path: str) -> int:
    """The NNN of /status/NNN; 404 when it is not a final status."""
    text = path.removeprefix(STATUS_PREFIX)
    valid = len(text) == 3 and text.isascii() and text.isdigit() and 200 <= int(text) <= 599
    return int(text) if valid else 404
