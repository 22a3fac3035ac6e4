"""``--metrics-address``: where Prometheus may ask for the daemon's metrics."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from django.core.management.base import CommandError

from pooldaemon.management.options import Option
from pooldaemon.workers.supervisor.metrics_server import MetricsServer

LOOPBACK = "127.0.0.1"


def read_address(option: Option) -> tuple[str, int]:
    """Host and port; without a host, those of this machine.

    :raises CommandError: it is none.
    """
    host, colon, port = str(option.value).rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host != bare
    is_port = port.isascii() and port.isdecimal() and int(port) <= 65535
    if not colon or not is_port or (":" in bare and not bracketed):
        raise CommandError(
            f"{option.origin} is {option.value}; it must be HOST:PORT, [IPv6 address]:PORT, "
            "or :PORT for this machine only; 0 is any free port, which status tells."
        )
    return bare or LOOPBACK, int(port)


def listen(options: Mapping[str, Option]) -> socket.socket:
    """
    :raises CommandError: it can't be done, and why.
    """
    option = options["metrics_address"]
    host, port = read_address(option)
    if options["pidfile"].value is None:
        raise CommandError(
            f"{option.origin} needs a pidfile, beside which the daemon can be asked: give "
            "--pidfile, or set settings.POOLDAEMON['PIDFILE']"
        )
    if find_spec("prometheus_client") is None:
        raise CommandError(
            f"{option.origin} needs prometheus_client: pip install 'pooldaemon[prometheus]'"
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise CommandError(f"{option.origin} {option.value}: {error.strerror}") from None
    except OSError as error:  # its own text has been added to
        reason = os.strerror(error.errno or 0)
        raise CommandError(f"{option.origin} {option.value}: {reason}") from None


def exporter_of(listener: socket.socket, control: Path, name: str) -> MetricsServer:
    """
    :param control: the daemon's control socket. :param name: the daemon's.
    """
    return MetricsServer(listener, partial(_serve, control, name))


def _serve(control: Path, name: str, listener: socket.socket, parent_death_pipe: int) -> int:
    """In the process itself, which alone needs the package of an extra."""
    from pooldaemon.metrics.endpoint import serve  # noqa: PLC0415

    return serve(listener, parent_death_pipe, control, name)
