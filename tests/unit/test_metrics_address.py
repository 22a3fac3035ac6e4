"""--metrics-address: what it may be, and what a mistake gets to read."""

import socket
from importlib import util

import pytest
from django.core.management.base import CommandError

from pooldaemon.management.metrics import listen, read_address
from pooldaemon.management.options import Option


def options(address: str, pidfile: str | None = "d.pid") -> dict[str, Option]:
    return {
        "metrics_address": Option(address, "--metrics-address"),
        "pidfile": Option(pidfile, "--pidfile"),
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (":9100", ("127.0.0.1", 9100)),
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),
        ("metrics.internal:80", ("metrics.internal", 80)),
        ("[::1]:9100", ("::1", 9100)),
        (":0", ("127.0.0.1", 0)),
    ],
)
def test_an_address_without_a_host_is_of_this_machine(given: str, meant: tuple[str, int]) -> None:
    assert read_address(options(given)["metrics_address"]) == meant


@pytest.mark.parametrize("given", ["9100", "localhost", ":", ":http", ":65536", ":-1", "::1:9100"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(CommandError, match=f"^--metrics-address is {given}; it must be HOST:PORT"):
        read_address(options(given)["metrics_address"])


def test_it_needs_a_pidfile() -> None:
    with pytest.raises(CommandError, match="--metrics-address needs a pidfile"):
        listen(options(":0", pidfile=None))


def test_without_the_package_it_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pooldaemon.management.metrics.find_spec", lambda name: None)
    assert util.find_spec("prometheus_client")
    with pytest.raises(CommandError, match=r"pip install 'pooldaemon\[prometheus\]'$"):
        listen(options(":0"))


def test_an_address_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f":{taken.getsockname()[1]}"
        with pytest.raises(
            CommandError, match=f"^--metrics-address {address}: Address already in use$"
        ):
            listen(options(address))


def test_a_host_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CommandError, match=r"^--metrics-address no-host\.invalid:1: "):
        listen(options("no-host.invalid:1"))
