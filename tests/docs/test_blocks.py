"""Every code block of the documentation works, unless exceptions.py says why it is not run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import on_mysql
from tests.docs.blocks import PAGES, ROOT, every_block
from tests.docs.exceptions import NOT_RUN, key
from tests.mysql.scratch import scratch_on
from tests.support.server import Admin

pytestmark = pytest.mark.once

# A paragraph that ends like this has a block behind it that names no language.
NAMELESS = re.compile(r"^ *(?!\.\. |:).*::$")
PROJECT = Path(__file__).parent / "project"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The project's, on the server of DATABASE_URL or in a file."""
    if not on_mysql():
        path = tmp_path / "shop.sqlite3"
        # The others are for code that reads them from the settings.
        server = {"HOST": "db.internal", "PORT": "3306", "USER": "shop"}
        yield {"ENGINE": "pooldaemon.backends.sqlite3", "NAME": str(path), **server}
        return
    url = os.environ["DATABASE_URL"]
    with Admin(url) as admin, scratch_on(admin, url) as scratch:
        yield scratch.account.settings()


def test_every_block_works(database: dict[str, Any], tmp_path: Path) -> None:
    directory = tmp_path / "project"
    shutil.copytree(PROJECT, directory)
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.docs.run"],
        cwd=directory,
        env={
            **os.environ,
            "CREDENTIALS_DIRECTORY": str(directory),
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": os.pathsep.join((str(directory), str(ROOT))),
            "SHOP_DATABASE": json.dumps(database),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert not finished.stderr, finished.stderr
    assert finished.returncode == 0


def test_every_block_names_its_language() -> None:
    nameless = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if NAMELESS.match(line)
    ]
    assert nameless == []
    assert [str(block) for block in every_block() if not block.language] == []


def test_every_exception_is_one_of_a_block_that_is_there() -> None:
    assert set(NOT_RUN) <= {key(block) for block in every_block()}
