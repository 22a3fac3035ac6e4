"""Our wrapper together with others that add to Django's."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models

from pooldaemon.backends.mysql import base as pooled
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, stats
from tests.unit.databases import AddDatabase


@pytest.fixture
def engine() -> Iterator[Any]:
    """Make an importable backend of a wrapper class: `engine(DatabaseWrapper)`."""
    name = "composed_backend"

    def make(wrapper: type[Any]) -> str:
        package, module = ModuleType(name), ModuleType(f"{name}.base")
        package.__path__ = []
        module.DatabaseWrapper = wrapper  # type: ignore[attr-defined]
        sys.modules.update({name: package, f"{name}.base": module})
        return name

    yield make
    for known in (name, f"{name}.base"):
        sys.modules.pop(known, None)


def test_geodjangos_backend_works_pooled(
    add_database: AddDatabase, scratch: Scratch, engine: Any
) -> None:
    try:
        from django.contrib.gis.db.backends.mysql import base as gis  # noqa: PLC0415 - may fail
        from django.contrib.gis.db.models import PointField  # noqa: PLC0415
        from django.contrib.gis.geos import Point  # noqa: PLC0415
    except (ImportError, ImproperlyConfigured) as error:
        pytest.skip(f"GeoDjango's libraries are not installed: {error}")
    wrapper = type("DatabaseWrapper", (pooled.DatabaseWrapper, gis.DatabaseWrapper), {})
    alias = add_database(**scratch.account.settings(ENGINE=engine(wrapper)))

    class Place(models.Model):  # noqa: DJ008
        point = PointField()

        class Meta:
            app_label = "composition"

    with connections[alias].schema_editor() as editor:
        editor.create_model(Place)
    try:
        Place.objects.using(alias).create(point=Point(1, 2))
        return_connection(alias)
        found = Place.objects.using(alias).get(point__contains=Point(1, 2))
        assert found.point.coords == (1.0, 2.0)
        return_connection(alias)
        assert stats(alias).connects == 1
    finally:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(Place)


def test_django_prometheus_counts_statements_and_sessions(
    add_database: AddDatabase, scratch: Scratch, engine: Any
) -> None:
    base = pytest.importorskip("django_prometheus.db.backends.mysql.base")
    from django_prometheus import db  # noqa: PLC0415 - it may not be installed

    wrapper = type("DatabaseWrapper", (pooled.DatabaseWrapper, base.DatabaseWrapper), {})
    alias = add_database(**scratch.account.settings(ENGINE=engine(wrapper)))
    for _ in range(3):
        assert fetch(alias, "SELECT 1") == 1
        return_connection(alias)

    def count(counter: Any) -> float:
        return float(counter.labels(alias, "mysql")._value.get())

    assert count(db.connections_total) == 1
    executed = count(db.execute_total)
    fetch(alias, "SELECT 1")
    assert count(db.execute_total) == executed + 1
    assert (stats(alias).connects, stats(alias).resets) == (1, 0)


def test_a_wrapper_that_counts_sees_each_session_once(
    add_database: AddDatabase, scratch: Scratch, engine: Any
) -> None:
    opened: list[str] = []

    class Counting(pooled.DatabaseWrapper):
        def get_new_connection(self, *args: Any) -> Any:
            opened.append(self.alias)
            return super().get_new_connection(*args)

    alias = add_database(**scratch.account.settings(ENGINE=engine(Counting)))
    for _ in range(3):
        assert fetch(alias, "SELECT 1") == 1
        return_connection(alias)
    assert opened == [alias]
