"""Names that a library does not promise to keep: one list, and what is missing says what it is for.

The same list is in docs/private-names.rst.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "private-names.rst"

NAMES = {
    "sqlalchemy.pool.base": (
        *("_ConnectionRecord", "_ConnectionRecord.get_connection", "_ConnectionRecord.close"),
        *("Pool._do_get", "Pool._do_return_conn"),
    ),
    "sqlalchemy.pool.impl": ("SingletonThreadPool._all_conns", "AssertionPool._checked_out"),
    "MySQLdb": ("_mysql", "_mysql.connection._get_native_connection"),
    "MySQLdb.cursors": (
        *("BaseCursor._query", "BaseCursor._get_db", "CursorUseResultMixIn._get_result"),
        *("BaseCursor._fetch_row", "BaseCursor._discard", "BaseCursor._result"),
    ),
    "django.db.backends.base.base": ("BaseDatabaseWrapper._close",),
    "django.db.backends.base.creation": (
        *("BaseDatabaseCreation._create_test_db", "BaseDatabaseCreation._clone_test_db"),
        "BaseDatabaseCreation._destroy_test_db",
    ),
    "django.db.backends.mysql.creation": ("DatabaseCreation._clone_db",),
    "logging": ("FileHandler._open",),
}
ATTRIBUTES = {
    # Set in __init__, so there is no such name on the class.
    "sqlalchemy.pool.base": {"Pool": ("_orig_logging_name", "_recycle")},
    "sqlalchemy.pool.impl": {
        "SingletonThreadPool": ("_all_conns",),
        "AssertionPool": ("_checked_out",),
    },
    "MySQLdb.cursors": {"BaseCursor": ("_result",)},
}


def given() -> list[tuple[str, str]]:
    return [(module, name) for module, names in NAMES.items() for name in names] + [
        (module, f"{of}.{name}")
        for module, classes in ATTRIBUTES.items()
        for of, names in classes.items()
        for name in names
    ]


@pytest.mark.parametrize(("module", "name"), sorted(set(given())))
def test_a_private_name_is_still_there(module: str, name: str) -> None:
    found: Any = importlib.import_module(module)
    path = name.split(".")
    for number, part in enumerate(path):
        is_last = number == len(path) - 1
        if is_last and inspect.isclass(found) and part in attributes_of(module, found.__name__):
            assert f"self.{part}" in inspect.getsource(found), missing(module, name)
            return
        found = getattr(found, part, None)
        assert found is not None, missing(module, name)


def attributes_of(module: str, of: str) -> tuple[str, ...]:
    return ATTRIBUTES.get(module, {}).get(of, ())


def missing(module: str, name: str) -> str:
    return f"{module}.{name} is gone: see docs/private-names.rst for what used it"


def test_each_is_in_the_documentation() -> None:
    text = DOCS.read_text()
    assert [name for _, name in given() if f"``{name}``" not in text] == []
