"""Forks in the middle of everything. STRESS_FORKS=1000 makes more of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forks.run import OURS, Report, run_trial
from tests.mysql.scratch import Scratch, scratch_on
from tests.support.certificate import can_certify, tls_options
from tests.support.server import Admin, Server

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0)]

FORKS = int(os.environ.get("STRESS_FORKS", "24"))


@pytest.fixture
def scratch(database_admin: Admin) -> Iterator[Scratch]:
    with scratch_on(database_admin, os.environ["DATABASE_URL"]) as scratch:
        yield scratch


def assert_nothing_happened(report: Report) -> None:
    assert (report.failed, report.errors) == ([], [])
    assert (report.lost, report.stray, report.killed, report.hung) == (0, 0, 0, 0)
    assert report.forks == FORKS
    assert report.committed > FORKS


@pytest.mark.parametrize("pool", [{}, {"poolclass": "QueuePool"}, {"mode": "transaction"}], ids=str)
def test_a_fork_in_the_middle_of_everything_harms_nobody(
    scratch: Scratch, pool: dict[str, str]
) -> None:
    assert_nothing_happened(run_trial(scratch, OURS, FORKS, **pool))


@pytest.mark.skipif(not can_certify(), reason="openssl, to make a certificate, is not installed")
def test_the_same_over_tls(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(*tls_options(tmp_path))
    with scratch_on(server.admin, server.url) as scratch:
        assert_nothing_happened(run_trial(scratch, OURS, FORKS, tls=True))
