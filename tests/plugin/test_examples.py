"""What the documentation shows of tests is true."""

from pathlib import Path

import pytest

from tests.docs.blocks import example
from tests.plugin.shop import Shop

pytestmark = pytest.mark.lifecycle


def test_the_tests_in_the_documentation_pass_in_a_project_of_ones_own(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "project")
    for name in ("tests/test_send_reminders.py", "tests/test_reports.py"):
        shop.write(name, example("testing.rst", name))
    shop.test(passed=3)
    # The database of the settings has not been touched, and that of the tests is gone.
    assert list(shop.directory.glob("*.sqlite3*")) == []
