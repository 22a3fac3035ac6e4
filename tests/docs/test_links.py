"""The documentation builds without a warning, and no link inside it is dead."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.blocks import DOCS, ROOT

pytestmark = pytest.mark.once


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, _tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value or "")
            elif name in {"href", "src"}:
                self.links.append(value or "")


def dead_links(site: Path) -> Iterator[str]:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                yield f"{path.relative_to(site)}: {link}"


def test_no_link_inside_the_built_pages_is_dead(tmp_path: Path) -> None:
    site = tmp_path / "html"
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-E", "-b", "html", DOCS, site],
        check=True,
    )
    assert (site / "index.html").exists()
    plots = (ROOT / "benchmarks" / "results").glob("*.svg")
    assert {path.name for path in plots} <= {path.name for path in (site / "_images").iterdir()}
    # Furo says so in a page, not in a warning.
    assert [path.name for path in site.rglob("*.html") if "ERROR: " in path.read_text()] == []
    assert list(dead_links(site)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="#gone">2</a><a href="b.html">3</a>'
        '<a href="a.html#here">4</a><a href="https://example.com/x">5</a></p>'
    )
    assert list(dead_links(tmp_path)) == ["a.html: #gone", "a.html: b.html"]


def test_the_readme_links_to_files_that_are_there() -> None:
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    links = re.findall(r"<([^>:]+)>`_", readme)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
