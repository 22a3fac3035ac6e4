import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from pytest_django import Settings

from pooldaemon_example.database import database_from_url
from pooldaemon_example.webhooks.conf import WebhookConfig


@pytest.mark.django_db  # on Django 6.1 the checks of a JSONField look at the database
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WEBHOOK_LEASE", "ten", r"WEBHOOK_LEASE is 'ten'; it must be a number of seconds above 0"),
        ("WEBHOOK_LEASE", "nan", r"WEBHOOK_LEASE is 'nan'; it must be a number"),
        ("WEBHOOK_RETRY_CAP", "inf", r"WEBHOOK_RETRY_CAP is 'inf'; it must be a number"),
        ("WEBHOOK_READ_TIMEOUT", 0, r"WEBHOOK_READ_TIMEOUT is 0; it must be a number"),
        ("WEBHOOK_CONNECT_TIMEOUT", None, r"WEBHOOK_CONNECT_TIMEOUT is None; it must be a number"),
        ("WEBHOOK_MAX_ATTEMPTS", "2.5", r"MAX_ATTEMPTS is '2.5'; it must be a whole number from 1"),
        ("WEBHOOK_MAX_ATTEMPTS", 32768, r"MAX_ATTEMPTS is 32768; .* from 1 to 32767"),
        ("WEBHOOK_RETRY_CAP", "1", r"WEBHOOK_RETRY_CAP=1 is below WEBHOOK_RETRY_BASE=10"),
        ("WEBHOOK_SIGNING_SECRET", "", r"WEBHOOK_SIGNING_SECRET is empty"),
        ("WEBHOOK_LEASE", "3", r"WEBHOOK_LEASE=3 must be longer than .* = 3$"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_found_by_check(
    settings: Settings, name: str, value: object, message: str
) -> None:
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=message):
        WebhookConfig.from_settings()
    with pytest.raises(SystemCheckError, match=r"webhooks\.E001"):
        call_command("check")


def test_numbers_may_come_as_text_from_the_environment(settings: Settings) -> None:
    settings.WEBHOOK_LEASE = "4.5"
    settings.WEBHOOK_MAX_ATTEMPTS = "7"
    config = WebhookConfig.from_settings()
    assert (config.lease, config.max_attempts) == (4.5, 7)


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
def test_a_mysql_url_gets_the_pooled_backend(scheme: str) -> None:
    database = database_from_url(f"{scheme}://shop:p%40ss@db.internal:3307/shop?charset=utf8mb4")
    assert database["ENGINE"] == "pooldaemon.backends.mysql"
    assert (database["NAME"], database["USER"], database["PASSWORD"]) == ("shop", "shop", "p@ss")
    assert (database["HOST"], database["PORT"]) == ("db.internal", 3307)
    assert database["OPTIONS"] == {"charset": "utf8mb4", "pool": {"mode": "transaction"}}


def test_a_sqlite_url_gets_the_pooled_backend_and_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = database_from_url("sqlite:///trial.sqlite3")
    assert database["ENGINE"] == "pooldaemon.backends.sqlite3"
    assert database["NAME"] == str(tmp_path / "trial.sqlite3")
    assert database_from_url("sqlite://:memory:")["NAME"] == ":memory:"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://u:secret@h/n", "'postgres' is not supported; use mysql://"),
        ("msql://u:secret@h/n", "Scheme 'msql://' is unknown"),
        ("mysql://u:secret@h:port/n", "not a valid url"),
    ],
)
def test_another_url_is_refused_without_repeating_its_password(url: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message) as caught:
        database_from_url(url)
    assert "secret" not in str(caught.value)


def test_a_mistake_in_the_settings_is_one_line_from_manage_py(tmp_path: Path) -> None:
    manage = Path(__file__).parents[2] / "manage.py"
    run = subprocess.run(
        [sys.executable, manage, "check"],
        env={"DATABASE_URL": "postgres://h/n"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("ImproperlyConfigured: DATABASE_URL: 'postgres'")
    assert len(run.stderr.splitlines()) == 1
