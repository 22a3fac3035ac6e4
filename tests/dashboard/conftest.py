"""Users with more or fewer permissions, and a daemon that has published its status."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from pooldaemon.dashboard.models import Snapshot
from pooldaemon.dashboard.publishing import source_of
from tests.dashboard import canned, load
from tests.dashboard.databases import OwnDatabase
from tests.lifecycle.daemon import Daemon

StaffClient = Callable[..., Client]


@pytest.fixture(autouse=True)
def no_daemons_of_this_host(settings: Settings) -> None:
    settings.POOLDAEMON = {"PUBLISH_INTERVAL": 1}


@pytest.fixture
def staff(client: Client) -> StaffClient:
    """Log in a member of the staff: `staff("view_snapshot", "operate_snapshot")`."""

    def log_in(*permissions: str) -> Client:
        user = User.objects.create_user("zoe", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot.objects.create(
        source=source_of(4711),
        name="deliver_webhooks",
        host="box",
        data={**canned.status(), "controlled": True},
    )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Two workers that publish to the test's database; see :mod:`tests.dashboard.load`."""
    options = ("--processes", "2", "--threads", "4", "--max-connections", "2")
    arguments = ("rundaemon", f"{load.__name__}.work", "--pidfile", "d.pid", *options)
    settings = {
        "INSTALLED_APPS": ["pooldaemon", "pooldaemon.dashboard"],
        "POOLDAEMON": {"PUBLISH_INTERVAL": 1},
    }
    with Daemon(tmp_path / "daemon", OwnDatabase(), arguments, **settings) as started:
        yield started
