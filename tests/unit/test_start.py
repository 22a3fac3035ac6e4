"""What a command imports that opens no pool."""

import subprocess
import sys

import pytest

CODE = """
import sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["pooldaemon"],
    DATABASES={"default": {"ENGINE": "pooldaemon.backends.mysql", "NAME": "shop"}},
)
django.setup()
from django.core.management import call_command
from django.db import connection
from pooldaemon.connections import close_pool, preload
call_command("check", verbosity=0)
close_pool()
"""


@pytest.mark.parametrize("loads", [False, True])
def test_sqlalchemy_and_the_classifier_wait_for_the_first_connection(loads: bool) -> None:
    code = CODE + ("preload()\n" if loads else "") + "print(*sys.modules)\n"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(ran.stdout.split())
    for late in ("sqlalchemy", "pooldaemon.pool.drivers.mysql.sql.classify"):
        assert (late in modules) is loads, late
