"""What --autoreload sees of files."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.utils.autoreload import autoreload_started

from pooldaemon.workers.supervisor.autoreload import INTERVAL, CodeChanges


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of one of the project's apps."""
    monkeypatch.setattr(apps.get_app_config("webhooks"), "path", str(tmp_path))
    return tmp_path


def age(path: Path) -> None:
    """Give it another time, as a change does."""
    os.utime(path, (0, path.stat().st_mtime - 1))


def test_a_module_that_nobody_has_loaded_yet_is_watched_as_well(app: Path) -> None:
    module = app / "sub" / "later.py"
    module.parent.mkdir()
    module.touch()
    changes = CodeChanges()
    assert changes.look(0.0) is None
    age(module)
    assert changes.look(INTERVAL) == module
    assert changes.look(2 * INTERVAL) is None


def test_a_loaded_module_is_watched_wherever_it_is() -> None:
    changes = CodeChanges()
    here = Path(__file__).resolve()
    assert here in {path.resolve() for path in changes._known}


def test_files_are_looked_at_once_in_an_interval(app: Path) -> None:
    module = app / "code.py"
    module.touch()
    changes = CodeChanges()
    changes.look(0.0)
    age(module)
    assert changes.look(INTERVAL * 0.9) is None
    assert changes.look(INTERVAL) == module


def test_a_file_that_is_new_or_gone_is_no_change_and_one_that_came_back_changed_is(
    app: Path,
) -> None:
    changes = CodeChanges()
    module = app / "code.py"
    module.touch()
    assert changes.look(0.0) is None
    time = module.stat().st_mtime
    module.unlink()
    assert changes.look(INTERVAL) is None
    module.touch()
    os.utime(module, (0, time + 1))
    assert changes.look(2 * INTERVAL) == module


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Path]:
    """A file that an app asks Django's reloader to watch."""
    path = tmp_path / "texts.txt"
    path.touch()

    def watch(sender: Any, **kwargs: Any) -> None:
        sender.watch_dir(tmp_path, "*.txt")

    autoreload_started.connect(watch)
    yield path
    autoreload_started.disconnect(watch)


def test_what_apps_ask_django_to_watch_is_watched(app: Path, texts: Path) -> None:
    changes = CodeChanges()
    age(texts)
    assert changes.look(0.0) == texts


def test_installed_packages_are_watched_no_further_than_they_are_loaded() -> None:
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    installed = sysconfig.get_path("purelib")
    watched = {str(path) for path in CodeChanges()._known if path.suffix == ".py"}
    assert not {path for path in watched if path.startswith(installed)} - loaded
