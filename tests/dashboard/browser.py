"""A headless Chromium, driven as a user would."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

Browser = webdriver.Chrome

PHONE = (390, 844)
"""Width and height, in pixels."""

DESKTOP = (1280, 900)


def is_there() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def browser() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # for which Chromium has no sandbox
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    started = Browser(options=options, service=service)
    try:
        yield started
    finally:
        started.quit()


def resize(browser: Browser, size: tuple[int, int]) -> None:
    """Have a window of that size, in which a phone's is a phone's."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def screenshot(browser: Browser, path: Path) -> None:
    """All of the page, also what would have to be scrolled to."""
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))


def complaints(browser: Browser) -> list[str]:
    """What its console has logged, but for the icon that nobody serves."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if "favicon" not in entry["message"]
    ]
