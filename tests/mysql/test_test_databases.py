"""Test databases are made, cloned and destroyed while pools are in use; production is never met."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mysql.scratch import Scratch

# What Django's DiscoverRunner does around the tests, in a project of its own.
PROJECT = """
import json, sys, threading
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "pooldaemon"],
    DATABASES={"default": json.loads(sys.argv[1])},
    USE_TZ=True,
)
django.setup()

from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections
from django.test.runner import DiscoverRunner

def fetch(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

def elsewhere(function):
    result = []
    def work():
        try:
            result.append(function())
        finally:
            connection.close()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return result[0]

seen = {}
fetch("SELECT 1")
elsewhere(lambda: fetch("SELECT 1"))
runner = DiscoverRunner(verbosity=0, interactive=False, parallel=2)
for _ in range(2):
    old = runner.setup_databases()
    seen["database"] = fetch("SELECT DATABASE()")
    seen["elsewhere"] = elsewhere(lambda: fetch("SELECT DATABASE()"))
    ContentType.objects.create(app_label="a", model="b")
    seen["rows"] = ContentType.objects.filter(app_label="a").count()
    clone = connection.creation.get_test_db_clone_settings("1")["NAME"]
    seen["clone"] = clone
    connection.close()
    connection.settings_dict["NAME"], test = clone, connection.settings_dict["NAME"]
    seen["in clone"] = fetch("SELECT DATABASE()")
    connection.close()
    connection.pool.close()  # a parallel runner's clones are used in processes of their own
    connection.settings_dict["NAME"] = test
    runner.teardown_databases(old)
    seen["sessions left"] = fetch(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db LIKE '%test%'"
    )
    seen["afterwards"] = fetch("SELECT DATABASE()")
    seen["afterwards elsewhere"] = elsewhere(lambda: fetch("SELECT DATABASE()"))
    connection.close()
print(json.dumps(seen))
"""


@pytest.mark.parametrize("provided", [False, True], ids=["PASSWORD", "password_provider"])
def test_the_life_of_test_databases(scratch: Scratch, tmp_path: Path, provided: bool) -> None:
    account, admin = scratch.account, scratch.admin
    test_name = f"{account.name}test"
    # The clone's name is Django's: this one, an underscore and a number.
    admin.query(f"GRANT ALL ON `{test_name}%`.* TO '{account.user}'@'%'")
    pool: dict[str, Any] = {"pool_size": 3}
    settings = account.settings(TEST={"NAME": test_name}, OPTIONS={"pool": pool})
    if provided:
        settings["PASSWORD"] = ""
        pool["password_provider"] = "vault.password"
        (tmp_path / "vault.py").write_text(f"def password(): return {account.password!r}")
    script = tmp_path / "project.py"
    script.write_text(PROJECT)
    # Django copies the tables with the client programs: what is tested here is around that.
    for program in ("mysqldump", "mysql"):
        stand_in = tmp_path / program
        stand_in.write_text(
            "#!/bin/sh\n[ ${0##*/} = mysqldump ] || cat > /dev/null\n"
            f'echo "$MYSQL_PWD" >> {tmp_path}/passwords\n'
        )
        stand_in.chmod(0o755)
    finished = subprocess.run(
        [sys.executable, "-W", "error", script, json.dumps(settings)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == {
        "database": test_name,
        "elsewhere": test_name,
        "rows": 1,
        "clone": f"{test_name}_1",
        "in clone": f"{test_name}_1",
        "sessions left": 0,
        "afterwards": account.name,
        "afterwards elsewhere": account.name,
    }
    passwords = (tmp_path / "passwords").read_text().split()
    assert set(passwords) == {account.password}
    left = admin.query("SHOW DATABASES LIKE %s", [f"{test_name}%"])
    assert left == []
    assert admin.query(f"SHOW TABLES IN {account.name}") == [{f"Tables_in_{account.name}": "t"}], (
        "production was written to"
    )
