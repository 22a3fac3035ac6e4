"""What of the documentation is not run, and why. There is no other way to be left out."""

from ctypes.util import find_library
from importlib.util import find_spec

from tests.docs.blocks import ROOT, Block

RUN_ELSEWHERE = "tests/plugin/test_examples.py runs it, in a project of its own"
ANOTHER_SERVER = "it changes accounts of a server: one statement for each of its makes"

# By page and first line of the block.
NOT_RUN = {
    ("docs/testing.rst", "# tests/test_send_reminders.py"): RUN_ELSEWHERE,
    ("docs/testing.rst", "# tests/test_reports.py"): RUN_ELSEWHERE,
    ("docs/pooling.rst", "GRANT TRIGGER, SHOW VIEW ON shop.* TO 'shop'@'%';"): ANOTHER_SERVER,
    ("docs/credentials.rst", "-- MySQL"): ANOTHER_SERVER,
}

if find_library("gdal") is None:
    gis_backend = (
        "docs/pooling.rst",
        '# shop/gis_backend/base.py, for ENGINE = "shop.gis_backend"',
    )
    NOT_RUN[gis_backend] = "GeoDjango needs the library GDAL, which this machine does not have"

if find_spec("django_prometheus") is None:
    monitored = (
        "docs/howto/engine-strings.rst",
        '# shop/monitored/mysql/base.py, for ENGINE = "shop.monitored.mysql"',
    )
    NOT_RUN[monitored] = (
        "django-prometheus is not installed; tests/mysql/test_composition.py has it"
    )

for package, block in {
    "numpy": ("docs/howto/in-workers.rst", "# shop/seeds.py"),
    "sentry_sdk": ("docs/howto/in-workers.rst", "# shop/reporting.py"),
}.items():
    if find_spec(package) is None:
        NOT_RUN[block] = f"{package} is not installed"

# Functions that are defined, and not called.
NOT_CALLED = {
    "database_password": "it reads a secret of a container",
}


def key(block: Block) -> tuple[str, str]:
    return str(block.page.relative_to(ROOT)), block.first_line


def exception(block: Block) -> str | None:
    return NOT_RUN.get(key(block))
