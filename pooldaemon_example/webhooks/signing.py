"""The signature of a delivery: HMAC-SHA256 over the time of sending and the body."""

import hashlib
import hmac
import re

SIGNATURE_HEADER = "Webhook-Signature"
ID_HEADER = "Webhook-Id"
ATTEMPT_HEADER = "Webhook-Attempt"

# How old a signature may be, which limits replays, and how much clocks may differ.
TOLERANCE_SECONDS = 300

_HEADER = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The value of the signature header."""
    return f"t={timestamp},v1={_digest(secret, timestamp, body)}"


def is_genuine(secret: str, header: str, body: bytes, now: float) -> bool:
    match = _HEADER.fullmatch(header)
    if match is None:
        return False
    timestamp = int(match[1])
    return abs(now - timestamp) <= TOLERANCE_SECONDS and hmac.compare_digest(
        match[2], _digest(secret, timestamp, body)
    )


def _digest(secret: str, timestamp: int, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d.%s" % (timestamp, body), hashlib.sha256).hexdigest()
