"""Loads deliveries from JSON lines. A bad line is reported; the others are loaded."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from pooldaemon_example.webhooks.models import URL_LENGTH, Delivery

MAX_LINE_BYTES = 256 * 1024
# One INSERT must fit the server's max_allowed_packet, 16 MB by default on MariaDB.
BATCH_LINES = 500
BATCH_BYTES = 1024 * 1024
# MariaDB refuses JSON that is nested deeper than 32, including the payload's own braces.
MAX_DEPTH = 30


class BadLineError(ValueError):
    """A line can't be loaded; the text says why."""


@dataclass
class Loaded:
    loaded: int = 0
    rejected: int = 0


def load(
    stream: BinaryIO, base_url: str | None, report: Callable[[int, str], None], done: Loaded
) -> None:
    """Load the good lines of the stream, and report the bad ones. `done` counts both, also when
    reading or the database fails midway."""
    batch: list[Delivery] = []
    batch_bytes = 0
    for number, line in read_lines(stream):
        try:
            delivery = parse_line(line, base_url)
        except BadLineError as reason:
            done.rejected += 1
            report(number, str(reason))
            continue
        batch.append(delivery)
        batch_bytes += len(line)
        if len(batch) >= BATCH_LINES or batch_bytes >= BATCH_BYTES:
            done.loaded += len(Delivery.objects.bulk_create(batch))
            batch, batch_bytes = [], 0
    done.loaded += len(Delivery.objects.bulk_create(batch))


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The number and the bytes of each line that is not blank. Of a line that is too long, such as
    a binary file, only the beginning is read into memory, one byte more than the limit."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(MAX_LINE_BYTES)):
            pass
        if line.strip():
            yield number, line


def parse_line(line: bytes, base_url: str | None) -> Delivery:
    if len(line) > MAX_LINE_BYTES:
        raise BadLineError(f"longer than {MAX_LINE_BYTES} bytes")
    record = _decode(line)
    if not isinstance(record, dict):
        raise BadLineError(f"not a JSON object: {_shown(record)}")
    if unknown := record.keys() - {"url", "payload"}:
        names = ", ".join(_shown(name) for name in sorted(unknown))
        raise BadLineError(f"unknown key {names}; valid are url, payload")
    if missing := [key for key in ("url", "payload") if key not in record]:
        raise BadLineError(f"without {' and '.join(missing)}")
    payload = record["payload"]
    if not isinstance(payload, dict):
        raise BadLineError(f"payload is not a JSON object: {_shown(payload)}")
    _check_storable(payload)
    return Delivery(url=delivery_url(record["url"], base_url), payload=payload)


def delivery_url(url: object, base_url: str | None) -> str:
    """The absolute URL, checked by the parser that is used for sending."""
    if not isinstance(url, str) or not url:
        raise BadLineError(f"url is not a text but {_shown(url)}")
    try:
        absolute = urljoin(base_url, url) if base_url else url
        parts = parse_url(absolute)
    except (LocationParseError, ValueError):
        raise BadLineError(f"url {_shown(url)} is malformed") from None
    if parts.scheme not in {"http", "https"} or not parts.host:
        hint = "" if base_url or parts.scheme else " (relative: it needs --base-url)"
        raise BadLineError(f"url {_shown(url)} is not http(s)://host/…{hint}")
    _check_parts(url, parts)
    if len(absolute) > URL_LENGTH:
        raise BadLineError(f"url {_shown(url)} is longer than {URL_LENGTH} characters")
    return absolute


def _check_parts(url: str, parts: Url) -> None:
    if parts.auth:
        raise BadLineError(f"url {_shown(url)} holds credentials, which would not be sent")
    if not url.isprintable() or " " in url:
        raise BadLineError(f"url {_shown(url)} holds a space or a control character")


def _decode(line: bytes) -> Any:
    cut = "" if line.endswith(b"\n") else " (the file ends in this line)"
    try:
        # Without the line break: a missing value would be reported in column 1 of the next line.
        return json.loads(line.rstrip(b"\r\n").decode())
    except UnicodeDecodeError as error:
        raise BadLineError(f"not UTF-8 at byte {error.start + 1}{cut}") from None
    except json.JSONDecodeError as error:
        raise BadLineError(f"not JSON: {error.msg} at column {error.colno}{cut}") from None
    except RecursionError:
        raise BadLineError("nested too deep") from None
    except ValueError:
        # Python refuses integers of thousands of digits.
        raise BadLineError("a number is too large") from None


def _check_storable(value: object, depth: int = 1) -> None:
    """Refuse values that Python accepts but not every database does. One of them would make the
    INSERT of its batch fail, or be changed by the database."""
    if depth > MAX_DEPTH:
        raise BadLineError(f"payload is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_storable(key, depth)
            _check_storable(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadLineError(f"payload holds {value}, which is not JSON")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise BadLineError("payload holds an integer of more than 64 bits")
    elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise BadLineError("payload holds half a surrogate pair")


def _shown(value: object) -> str:
    """A short text without control characters, for messages."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
