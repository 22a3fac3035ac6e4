"""The page in a real browser, with a real daemon behind it.

With ``SCREENSHOTS=docs/_static`` the pictures of the documentation are made anew.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from pooldaemon.dashboard.publishing import publish
from tests.dashboard import canned, load
from tests.lifecycle.daemon import Daemon

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.dashboard import browser as browsers
from tests.dashboard.browser import Browser

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not browsers.is_there(), reason="needs chromium and chromedriver"),
    pytest.mark.django_db(transaction=True),
]
PAGE = "/admin/pooldaemon_dashboard/snapshot/"
TIMEOUT = 60.0  # seconds for what takes two or three on an idle machine
NOTHING = "\N{EN DASH}"
CSS = By.CSS_SELECTOR
TEXTS = """return [...document.querySelectorAll(arguments[0])]
    .filter((found) => found.getClientRects().length).map((found) => found.innerText)"""


class Page:
    """The page as a user sees it."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser = browser
        browser.get(address)

    def wait_for(self, what: str, condition: Callable[[], Any]) -> None:
        """Not too often: each look takes time from the page and its daemon."""
        wait = WebDriverWait(self.browser, TIMEOUT, poll_frequency=0.2)
        wait.until(lambda _: condition(), what)

    def find(self, selector: str) -> Any:
        return self.browser.find_element(CSS, selector)

    def texts(self, selector: str) -> list[str]:
        # In one step: between two the page may have drawn its tables anew.
        found: list[str] = self.browser.execute_script(TEXTS, selector)
        return found

    def value(self, chart: int, line: int = 0) -> float:
        """What a chart's key says; the first of each is 0."""
        text = self.texts(f".pd-chart:nth-child({chart + 1}) .pd-key b")[line]
        return 0.0 if text == NOTHING else float(text.split()[0].replace(",", ""))

    def drawing(self, chart: int) -> str:
        script = "return document.querySelectorAll('.pd-plot canvas')[arguments[0]].toDataURL()"
        drawn: str = self.browser.execute_script(script, chart)
        return drawn

    def workers(self) -> list[str]:
        return [row for row in self.texts(".pd-table tbody tr") if row.startswith("worker-")]

    def press(self, command: str) -> None:
        """By the keyboard alone: the button, and Yes."""
        self.find(f"[data-command={command}]").send_keys(Keys.ENTER)
        yes = self.find("#pd-confirm-yes")
        if yes.is_displayed():
            yes.send_keys(Keys.ENTER)

    def said(self) -> str:
        text: str = self.find("#pd-message").text
        return text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.browser() as started:
        yield started


def open_page(browser: Browser, live_server: LiveServer, user: User) -> Page:
    client = Client()
    client.force_login(user)
    browser.get(live_server.url + "/admin/login/")
    browser.delete_all_cookies()
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    return Page(browser, live_server.url + PAGE)


def test_the_charts_follow_the_load(
    browser: Browser, live_server: LiveServer, admin_user: User, daemon: Daemon, tmp_path: Path
) -> None:
    page = open_page(browser, live_server, admin_user)
    browsers.resize(browser, browsers.DESKTOP)
    page.wait_for("two workers in the table", lambda: len(page.workers()) >= 2)
    assert page.value(0) == 0
    idle = page.drawing(0)

    load.switch(daemon.directory).touch()
    page.wait_for("connections in use", lambda: page.value(0) > 0)
    page.wait_for("units a second", lambda: page.value(3) > 0)
    page.wait_for("threads that wait", lambda: page.value(1) > 0)
    page.wait_for("how long they waited", lambda: page.value(2, 1) > 0)
    assert page.value(0, 1) == 4
    assert page.drawing(0) != idle
    page.wait_for("a unit's progress", lambda: page.texts(".pd-bar progress"))
    page.wait_for("who holds one", lambda: "load.py" in "".join(page.texts("td code")))
    take_pictures(page, tmp_path)

    load.switch(daemon.directory).unlink()
    page.wait_for("no load", lambda: page.value(0) == 0 and page.value(3) == 0)
    assert browsers.complaints(browser) == []
    daemon.stop()


def take_pictures(page: Page, directory: Path) -> None:
    """Light, dark, and on a phone."""
    browser = page.browser
    theme = "document.documentElement.dataset.theme = arguments[0]"
    for name, chosen, size in (
        ("light", "light", browsers.DESKTOP),
        ("dark", "dark", browsers.DESKTOP),
        ("phone", "light", browsers.PHONE),
    ):
        browser.execute_script(theme, chosen)
        browsers.resize(browser, size)
        page.wait_for("charts that fit", lambda: is_drawn(browser))
        browsers.screenshot(browser, directory / f"admin-{name}.png")
        wide = "return document.documentElement.scrollWidth - window.innerWidth"
        assert browser.execute_script(wide) <= 0, f"{name}: the page is wider than its window"
    browsers.resize(browser, browsers.DESKTOP)


def is_drawn(browser: Browser) -> bool:
    script = """return [...document.querySelectorAll(".pd-plot")].every((place) =>
        place.querySelector(".uplot").clientWidth === place.clientWidth)"""
    return bool(browser.execute_script(script))


def test_actions_reach_the_daemon_and_are_in_the_history(
    browser: Browser, live_server: LiveServer, admin_user: User, daemon: Daemon
) -> None:
    page = open_page(browser, live_server, admin_user)
    ready = ".pd-ready"
    page.wait_for("two workers", lambda: len(page.texts(ready)) == 2)
    size = page.find("[name=processes]")
    size.clear()
    size.send_keys("3")
    page.press("scale")
    page.wait_for("an answer", lambda: "scale 3: queued for" in page.said())
    page.wait_for("a third worker", lambda: len(page.texts(ready)) == 3)
    page.press("pause")
    page.wait_for("pools that are paused", lambda: "(paused)" in "".join(page.texts("td")))
    page.press("resume")
    page.wait_for("pools that lend", lambda: "(paused)" not in "".join(page.texts("td")))
    before = daemon.workers
    page.press("reload")
    page.wait_for("new workers", lambda: not before & daemon.workers)
    history = " ".join(page.texts("#pd-history li"))
    for command in ("scale 3", "pause", "resume", "reload"):
        assert f"{command}: queued for the daemon's next report" in history
    assert LogEntry.objects.count() == 4
    daemon.stop()


def test_what_is_not_confirmed_is_not_done(
    browser: Browser, live_server: LiveServer, admin_user: User, daemon: Daemon
) -> None:
    page = open_page(browser, live_server, admin_user)
    page.wait_for("workers", lambda: page.texts(".pd-ready"))
    page.find("[data-command=reload]").click()
    assert "replace all workers" in page.find("#pd-confirm").text
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find("#pd-confirm").is_displayed()
    assert not page.find("#pd-message").is_displayed()
    assert not LogEntry.objects.exists()
    daemon.stop()


def test_without_the_permission_there_is_no_page(
    browser: Browser, live_server: LiveServer, django_user_model: type[User]
) -> None:
    user = django_user_model.objects.create_user("zoe", is_staff=True)
    page = open_page(browser, live_server, user)
    assert page.texts("h1") == ["403 Forbidden"]


def test_a_daemon_that_is_gone_is_said_to_be_silent(
    browser: Browser, live_server: LiveServer, admin_user: User, daemon: Daemon
) -> None:
    page = open_page(browser, live_server, admin_user)
    page.wait_for("workers", lambda: page.texts(".pd-ready"))
    daemon.stop()
    page.wait_for("silence", lambda: "silent" in page.find(".pd-about").text)
    assert not page.find(".pd-actions").is_displayed()


def test_a_failed_reload_is_shown_with_its_reason_until_one_succeeds(
    browser: Browser, live_server: LiveServer, admin_user: User
) -> None:
    failed = {"number": 2, "state": "failed", "reason": "ImportError: no <b>module</b>"}
    publish("deliver_webhooks", canned.status(reload=failed))
    page = open_page(browser, live_server, admin_user)
    said = ["The last reload failed: ImportError: no <b>module</b>"]
    page.wait_for("the reason", lambda: page.texts(".pd-reload") == said)
    publish("deliver_webhooks", canned.status(reload={**failed, "state": "done", "reason": None}))
    page.wait_for("its end", lambda: page.texts(".pd-reload") == [])


def is_over(end: float) -> bool:
    return time.monotonic() >= end


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="needs SCREENSHOTS=DIRECTORY")
def test_the_pictures_of_the_documentation(
    browser: Browser, live_server: LiveServer, admin_user: User
) -> None:
    """A minute in the life of a shop's daemon."""
    day = canned.Day(seed=1)
    publish("deliver_webhooks", day.second(0))
    page = open_page(browser, live_server, admin_user)
    for second in range(1, 61):
        page.wait_for("the next second", partial(is_over, time.monotonic() + 1))
        publish("deliver_webhooks", day.second(second))
    take_pictures(page, Path(os.environ["SCREENSHOTS"]))
