"""The wheel as a stranger gets it: built from the source alone, installed where nothing else is."""

import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import pooldaemon

ROOT = Path(__file__).parents[2]
SOURCES = ("LICENSE", "MANIFEST.in", "README.rst", "pyproject.toml", "setup.py")
SETTINGS = """
INSTALLED_APPS = ["pooldaemon"]
DATABASES = {"default": {"ENGINE": "pooldaemon.backends.sqlite3", "NAME": "work.sqlite3"}}
"""
TARGET = """
def perform(ctx):
    print("one unit of work")
"""

# Both fixtures fetch packages.
pytestmark = [pytest.mark.timeout(900), pytest.mark.once]


def run(*command: str | Path, cwd: Path, settings: str = "") -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "DJANGO_SETTINGS_MODULE", "PYTHONPATH"}
    }
    if settings:
        environment |= {"DJANGO_SETTINGS_MODULE": settings, "PYTHONPATH": str(cwd)}
    finished = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: a build in place takes along what earlier builds left in build/.
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pooldaemon", source / "pooldaemon", ignore=ignore)
    built = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", built, source, cwd=source)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it requires."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", environment, cwd=environment)
    interpreter = environment / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "--quiet", wheel, cwd=environment)
    return interpreter


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "site_settings.py").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "work.py").write_text(TARGET, encoding="utf-8")
    return tmp_path


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pooldaemon").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert "pooldaemon/py.typed" in held
    assert {name for name in held if ".dist-info/" not in name} == package


def test_the_wheel_says_who_it_is_and_carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        about = message_from_bytes(archive.read(metadata))
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert (about["Name"], about["Version"]) == ("pooldaemon", pooldaemon.__version__)
    assert about["Requires-Python"] == ">=3.11"
    assert len(licences) == 1


def test_the_wheel_registers_the_plugin_of_pytest(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        entry_points = archive.read(name).decode()
    assert entry_points.strip() == "[pytest11]\npooldaemon.pytest_plugin = pooldaemon.pytest_plugin"


def test_the_public_names_import_without_settings_and_without_a_mysql_driver(
    python: Path, tmp_path: Path
) -> None:
    code = (
        "from pooldaemon import BaseDaemonCommand, auto_close_db, close_pool;"
        "import importlib.util as u; print(u.find_spec('MySQLdb'))"
    )
    assert run(python, "-c", code, cwd=tmp_path) == "None\n"


def test_django_finds_the_command(python: Path, project: Path) -> None:
    listed = run(python, "-m", "django", "help", cwd=project, settings="site_settings")
    assert "[pooldaemon]\n    pooldaemon\n    rundaemon" in listed
    usage = run(
        python, "-m", "django", "rundaemon", "--help", cwd=project, settings="site_settings"
    )
    assert "--max-connections" in usage


def test_the_daemon_runs(python: Path, project: Path) -> None:
    arguments = ("rundaemon", "work.perform", "--until-idle", "--processes", "1", "--threads", "1")
    output = run(python, "-m", "django", *arguments, cwd=project, settings="site_settings")
    assert "one unit of work" in output
    assert "worker-1 (pid " in output
