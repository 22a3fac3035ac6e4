"""Sends one signed HTTP request per attempt. Does not use the database."""

import functools
import json
import os
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import urllib3

from pooldaemon_example.webhooks.claims import Claim
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.outcomes import Answer
from pooldaemon_example.webhooks.signing import (
    ATTEMPT_HEADER,
    ID_HEADER,
    SIGNATURE_HEADER,
    signature,
)

# The part of an answer that is read and kept.
EXCERPT_BYTES = 1000
HOSTS_KEPT = 50
CONNECTIONS_KEPT_PER_HOST = 64


def post(claim: Claim, config: WebhookConfig) -> Answer:
    body = json.dumps(claim.payload, ensure_ascii=False, allow_nan=False).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "pooldaemon-example",
        ID_HEADER: str(claim.id),
        ATTEMPT_HEADER: str(claim.attempt),
        SIGNATURE_HEADER: signature(config.signing_secret, int(time.time()), body),
    }
    try:
        # Retries are scheduled in the table, where they survive this process. Redirects are not
        # followed: they would send the signed body to a URL that nobody has configured.
        response = _http(os.getpid()).request(
            "POST",
            claim.url,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=config.connect_timeout, read=config.read_timeout),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            excerpt = _excerpt(response, config.read_timeout)
        finally:
            # If the body was read to its end, the connection is in the pool again and stays open.
            response.close()
    except urllib3.exceptions.HTTPError as error:
        return Answer(error=f"{type(error).__name__}: {error}")
    return Answer(
        status=response.status,
        body=excerpt,
        retry_after=_retry_after(response.headers.get("Retry-After"), time.time()),
    )


@functools.cache
def _http(pid: int) -> urllib3.PoolManager:
    """The HTTP connections of a process. By pid, since a forked child must not use its parent's
    sockets: it would read the parent's answers."""
    return urllib3.PoolManager(num_pools=HOSTS_KEPT, maxsize=CONNECTIONS_KEPT_PER_HOST)


def _excerpt(response: urllib3.BaseHTTPResponse, seconds: float) -> str:
    """The beginning of the body. Limited in time, since the read timeout applies only to each
    read."""
    deadline = time.monotonic() + seconds
    excerpt = b""
    while len(excerpt) < EXCERPT_BYTES and time.monotonic() < deadline:
        chunk = response.read1(EXCERPT_BYTES - len(excerpt), decode_content=False)
        if not chunk:
            break
        excerpt += chunk
    return excerpt.decode("utf-8", "replace")


def _retry_after(value: str | None, now: float) -> float | None:
    """The header in seconds, from either of its forms; None if it is missing or malformed."""
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except (ValueError, OverflowError):
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
