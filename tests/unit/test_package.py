"""What `import pooldaemon` loads, what it offers, and what is said when the driver is missing."""

import subprocess
import sys

import pytest

import pooldaemon

BLOCK_DRIVER = """
import sys
from importlib.machinery import PathFinder

class Missing(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "MySQLdb" else super().find_spec(name, path, target)

sys.meta_path[:] = [Missing if finder is PathFinder else finder for finder in sys.meta_path]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f).lower()]
"""

USE_MYSQL = """
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["pooldaemon"],
    DATABASES={"default": {"ENGINE": "pooldaemon.backends.mysql", "NAME": "x"}},
)
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_importing_the_package_loads_neither_django_nor_sqlalchemy() -> None:
    code = (
        "import sys, pooldaemon; print([m for m in ('django', 'sqlalchemy') if m in sys.modules])"
    )
    assert python(code).stdout == "[]\n"


def test_a_project_that_is_not_under_test_loads_nothing_of_it() -> None:
    code = (
        "import sys, django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['pooldaemon']); django.setup();"
        "from pooldaemon import BaseDaemonCommand;"
        "print([m for m in sys.modules if 'pytest' in m or m.startswith('pooldaemon.testing')])"
    )
    assert python(code).stdout == "[]\n"


def test_a_test_run_that_has_no_daemon_does_not_load_django_for_the_plugin() -> None:
    code = "import sys, pooldaemon.pytest_plugin; print('django' in sys.modules)"
    assert python(code).stdout == "False\n"


@pytest.mark.parametrize("name", pooldaemon.__all__)
def test_every_public_name_is_there_when_it_is_asked_for(name: str) -> None:
    assert getattr(pooldaemon, name).__name__ == name
    assert name in dir(pooldaemon)


def test_the_three_names_that_everybody_needs_are_public() -> None:
    assert {"auto_close_db", "close_pool", "BaseDaemonCommand"} <= set(pooldaemon.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pooldaemon' has no attribute 'close_pools'"):
        pooldaemon.close_pools  # noqa: B018


def test_the_package_has_a_version() -> None:
    assert pooldaemon.__version__.count(".") == 2


def test_without_its_driver_the_mysql_backend_says_what_to_install() -> None:
    finished = python(BLOCK_DRIVER + USE_MYSQL + "django.setup()\nfrom django.db import connection"
                      "\nconnection.ensure_connection()")  # fmt: skip
    assert finished.returncode != 0
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("pooldaemon.exceptions.ImproperlyConfigured: pooldaemon.backends.mysql")
    for part in ("needs mysqlclient", "pip install 'pooldaemon[mysql]'", "apt-get install gcc"):
        assert part in last


def test_without_the_driver_everything_else_works() -> None:
    code = """
settings.DATABASES["default"] = {"ENGINE": "pooldaemon.backends.sqlite3", "NAME": "x"}
django.setup()
from pooldaemon import BaseDaemonCommand, auto_close_db, close_pool
close_pool()
print("works")
"""
    finished = python(BLOCK_DRIVER + USE_MYSQL + code)
    assert finished.stdout == "works\n", finished.stderr
