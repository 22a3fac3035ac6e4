"""Results that nobody took, however many: the return ends, and the next borrower is not hurt.

In a process of its own: a client library that loops in C can't be interrupted from here.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.mysql.scratch import Scratch
from tests.support.behind_router import REASON, SHARING

# The error is in the output of another process.
refused = pytest.mark.xfail(SHARING, reason=f"{REASON}: several in one")

pytestmark = [pytest.mark.mysql, refused]

TIMEOUT = 30.0

BORROWERS = """
import json, os
import django
django.setup()
from django.db import connections
settings = json.loads(os.environ["UNREAD_SETTINGS"])
connections.settings["unread"] = connections.configure_settings(
    {"default": {}, "unread": settings})["unread"]
connection = connections["unread"]
for kind, code in json.loads(os.environ["UNREAD_CODE"]).items():
    print(kind, end=": ", flush=True)
    connection.ensure_connection()
    handle = connection.connection
    exec(code)
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 42, @leak")
        print(*cursor.fetchone(), flush=True)
    connection.close()
"""

# What a borrower does, in an order in which a variable left by one would be seen after the next.
UNREAD = {
    "rows after none": "handle.query('SET @leak = 1; SELECT 2')",
    "one": "handle.query('SELECT 1')",
    "two": "handle.query('SELECT 1; SELECT 2')",
    "two, the first taken": "handle.query('SELECT 1; SELECT 2'); handle.store_result()",
    "two, the first used": "handle.query('SELECT 1; SELECT 2'); kept = handle.use_result()",
    "three, the second begun": (
        "handle.query('SELECT 1; SELECT 2; SELECT 3'); handle.store_result(); handle.next_result()"
    ),
    "none after rows": "handle.query('SELECT 2; SET @leak = 1')",
    "an error at the end": "handle.query('SELECT 1; SELECT nothing')",
    "sent only": "handle.send_query(b'SELECT 1; SELECT 2')",
    "sent and begun": "handle.send_query(b'SELECT 1; SELECT 2'); handle.read_query_result()",
    "a cursor's": "kept = handle.cursor(); kept.execute('SELECT 1; SELECT 2')",
    "without rows": "handle.query('SET @leak = 1; SET @leak = 2; SET @leak = 3')",
}


def output_of_borrowers(scratch: Scratch, reset: str) -> str:
    options = {"pool": {"pool_size": 1, "timeout": 10, "reset": reset}}
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "UNREAD_SETTINGS": json.dumps(scratch.account.settings(OPTIONS=options)),
        "UNREAD_CODE": json.dumps(UNREAD),
    }
    with subprocess.Popen(
        [sys.executable, "-c", BORROWERS],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            output += "it hangs"
    return output


@pytest.mark.parametrize("reset", ["dirty", "always"])
def test_the_next_borrower_reads_its_own(plain: Scratch, reset: str) -> None:
    output = output_of_borrowers(plain, reset)
    assert output.splitlines() == [f"{kind}: 42 None" for kind in UNREAD]


def test_the_next_borrower_reads_its_own_if_nothing_is_reset(plain: Scratch) -> None:
    """What statements have set stays then; their results do not."""
    output = output_of_borrowers(plain, "never")
    assert [line.rpartition(" ")[0] for line in output.splitlines()] == [
        f"{kind}: 42" for kind in UNREAD
    ]
