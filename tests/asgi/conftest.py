import os
from collections.abc import Iterator

import pytest

from tests.asgi.site import Site, answer
from tests.mysql.scratch import scratch_on
from tests.support.server import Admin

CAP = 5


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Its database account may have as many sessions as the cap."""
    url = os.environ["DATABASE_URL"]
    limits = f"WITH MAX_USER_CONNECTIONS {CAP}"
    with Admin(url) as admin, scratch_on(admin, url, limits) as scratch:
        admin.query(f"CREATE TABLE {scratch.account.name}.t (id INT PRIMARY KEY)")
        site = Site(scratch, CAP)
        try:
            assert answer(site.send("sync")) == (200, "7")  # now there is a pool
            yield site
            site.stop()
        finally:
            site.kill()
