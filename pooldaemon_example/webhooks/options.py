"""Types of command-line options for argparse, with messages for wrong values."""

import math
from argparse import ArgumentTypeError

from pooldaemon_example.webhooks.loading import BadLineError, delivery_url


def rate(text: str) -> float:
    return _number(text, 0, 1, "from 0 to 1")


def seconds(text: str) -> float:
    return _number(text, 0, math.inf, "of seconds, 0 or more")


def count(text: str) -> int:
    return _whole(text, 1, 2**31, "of 1 or more")


def port(text: str) -> int:
    return _whole(text, 0, 65535, "from 0 (any free port) to 65535")


def base_url(text: str) -> str:
    try:
        return delivery_url(text, None)
    except BadLineError as error:
        raise ArgumentTypeError(str(error)) from None


def _number(text: str, low: float, high: float, valid: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or math.isinf(value):
        raise ArgumentTypeError(f"{text!r} is not a number {valid}")
    return value


def _whole(text: str, low: int, high: int, valid: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ArgumentTypeError(f"{text!r} is not a whole number {valid}")
    return value
