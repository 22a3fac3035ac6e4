"""The pytest fixture ``daemon_process``. pytest loads this module wherever the package is
installed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pooldaemon.testing import DaemonProcess

COMMITS = {"transactional_db", "django_db_reset_sequences", "live_server"}
"""Fixtures of pytest-django that commit, so that other processes see what a test writes."""


@pytest.fixture
def daemon_process(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., DaemonProcess]]:
    """A function that starts a daemon command as a real process, in the foreground.

    ``daemon_process("send_reminders", "--threads", "2")`` returns a running
    :class:`~pooldaemon.testing.DaemonProcess` when its workers are ready. The daemon uses the
    test's databases, so the test needs ``@pytest.mark.django_db(transaction=True)``. The test has
    to stop it: processes that are left at the end of the test are killed, and the test fails with
    the log.

    Keyword arguments:

    * ``faults``: actions by fault point, ``{"before_unit": "crash"}``. Default: none.
    * ``wait``: ``False``: return at once, for a daemon that does not become ready. Default:
    ``True``.
    * ``databases``: names of databases by alias. Default: the test's; ``{}``: those of the
    settings.
    * ``environment``: variables in addition to the test's own.
    """
    # Imported late: other projects may run their tests in this environment.
    from pooldaemon.testing import DaemonProcess  # noqa: PLC0415

    numbers = itertools.count(1)
    with ExitStack() as daemons:

        def start(
            *arguments: str,
            databases: Mapping[str, str] | None = None,
            environment: Mapping[str, str] | None = None,
            faults: Mapping[str, str] | None = None,
            wait: bool = True,
        ) -> DaemonProcess:
            if databases is None:
                databases = _test_databases(request)
            directory = tmp_path / f"daemon-{next(numbers)}"
            command = [*arguments, f"--pidfile={directory / 'pid'}"]
            daemon = DaemonProcess(directory, command, databases=databases, environment=environment)
            daemon.prepare()
            for point, action in (faults or {}).items():
                daemon.arm(point, action)
            daemons.enter_context(daemon)
            if wait:
                daemon.wait_until_ready()
            return daemon

        yield start


def _test_databases(request: pytest.FixtureRequest) -> dict[str, str]:
    """The names of the test's databases, by alias."""
    from django.db import connections  # noqa: PLC0415 - as above

    mark = request.node.get_closest_marker("django_db")
    asked = mark is not None and (mark.kwargs.get("transaction") or any(mark.args[:1]))
    if not asked and not COMMITS.intersection(request.fixturenames):
        pytest.fail(
            "daemon_process needs @pytest.mark.django_db(transaction=True): without it the daemon "
            "would not see what the test writes, or would use the database of the settings. If "
            "you want the latter, give databases={}.",
            pytrace=False,
        )
    given: Sequence[Any] = connections.all()
    for connection in given:
        alias = connection.alias
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            pytest.fail(
                f"the test database {alias!r} is in memory, where another process can't see it: "
                f"set DATABASES[{alias!r}]['TEST'] = {{'NAME': 'test.sqlite3'}}",
                pytrace=False,
            )
    return {connection.alias: str(connection.settings_dict["NAME"]) for connection in given}
