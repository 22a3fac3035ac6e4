"""``--metrics-address``: the endpoint for Prometheus."""

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
    """The host and the port of an address. The default host is 127.0.0.1.

    :raises CommandError: it is not a valid address.
    """
    host, colon, port = str(option.value).rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host != bare
    is_port = port.isascii() and port.isdecimal() and int(port) <= 65535
    if not colon or not is_port or (":" in bare and not bracketed):
        raise CommandError(
            f"{option.origin} is {option.value}; it must be HOST:PORT, [IPv6 address]:PORT, "
            "or :PORT for this machine only. Port 0 is a free port, which status shows."
        )
    return bare or LOOPBACK, int(port)


def listen(options: Mapping[str, Option]) -> socket.socket:
    """A socket that listens on ``--metrics-address``.

    :raises CommandError: the address is wrong or can't be bound, there is no pidfile, or
        prometheus_client is not installed.
    """
    option = options["metrics_address"]
    host, port = read_address(option)
    if options["pidfile"].value is None:
        raise CommandError(
            f"{option.origin} needs a pidfile, which has the control socket beside it: give "
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
    except OSError as error:  # create_server() adds the address to its strerror
        reason = os.strerror(error.errno or 0)
        raise CommandError(f"{option.origin} {option.value}: {reason}") from None


def exporter_of(listener: socket.socket, control: Path, name: str) -> MetricsServer:
    """The metrics server of a daemon.

    :param listener: the socket of :func:`listen`.
    :param control: the daemon's control socket.
    :param name: the daemon's name, for a label.
    """
    return MetricsServer(listener, partial(_serve, control, name))


def _serve(control: Path, name: str, listener: socket.socket, parent_death_pipe: int) -> int:
    """Runs in the exporter's process, the only one that imports prometheus_client."""
    from pooldaemon.metrics.endpoint import serve  # noqa: PLC0415

    return serve(listener, parent_death_pipe, control, name)
