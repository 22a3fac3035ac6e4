"""A row whose unit fails every time does not keep the daemon of the quickstart from the others."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pooldaemon.testing import DaemonProcess, wait_until
from pooldaemon.testing.daemon import TIMEOUT
from tests.docs.blocks import example
from tests.lifecycle.databases import MySQLDatabase

ROOT = Path(__file__).parents[2]
COMMAND = "shop/management/commands/number_invoices.py"
ROWS = 300

MODELS = """
import time
from django.db import models

class Invoice(models.Model):
    number = models.IntegerField(null=True)
    poison = models.BooleanField(default=False)

    def assign_number(self):
        if self.poison:
            raise ValueError("this one fails every time")
        time.sleep(0.01)
        self.number = self.pk
        self.save()
"""

SETTINGS = """
SECRET_KEY = "of the tests"
INSTALLED_APPS = ["shop", "pooldaemon"]
DATABASES = {{"default": {database!r}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""


def shop(directory: Path, database: MySQLDatabase) -> Mapping[str, str]:
    """The quickstart's command, over rows that may be poison; returns its environment."""
    command = directory / COMMAND
    command.parent.mkdir(parents=True)
    for package in (command.parent, command.parents[1], command.parents[2]):
        (package / "__init__.py").touch()
    command.write_text(example("quickstart.rst", COMMAND))
    (directory / "shop/models.py").write_text(MODELS)
    (directory / "settings.py").write_text(SETTINGS.format(database=database.settings))
    path = os.pathsep.join(map(str, (directory, ROOT)))
    return {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": path}


@pytest.mark.mysql
def test_the_quickstarts_daemon_does_every_row_but_the_one_that_fails(
    mysql: MySQLDatabase, tmp_path: Path
) -> None:
    mysql.query(
        "CREATE TABLE shop_invoice (id BIGINT AUTO_INCREMENT PRIMARY KEY, number INT NULL,"
        " poison BOOL NOT NULL DEFAULT 0)"
    )
    rows = ", ".join(["(0)"] * ROWS)
    mysql.query(f"INSERT INTO shop_invoice (poison) VALUES (1), {rows}")
    environment = shop(tmp_path / "project", mysql)
    with DaemonProcess(tmp_path / "daemon", ["number_invoices"], environment=environment) as daemon:
        wait_until(
            lambda: mysql.query("SELECT COUNT(number) FROM shop_invoice") == [(ROWS,)],
            TIMEOUT,
            "rows are left",
        )
        daemon.stop()
        failed = len(daemon.log_lines("a unit of work failed"))
        # Once in each process, or in each thread of it that came before it was put aside.
        assert 1 <= failed <= 16, daemon.log
        assert mysql.query("SELECT number FROM shop_invoice WHERE poison") == [(None,)]
