"""Settings of the documentation; `make docs` builds it with warnings as errors."""

import re
from pathlib import Path

from sphinx.application import Sphinx

_ROOT = Path(__file__).parent.parent
_INIT = _ROOT / "pooldaemon" / "__init__.py"

project = "pooldaemon"
author = "pooldaemon contributors"
copyright = "2026, pooldaemon contributors"
release = re.findall(r'^__version__ = "(.+)"$', _INIT.read_text(encoding="utf-8"), re.MULTILINE)[0]
version = release

extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Types of others, whose documentation is not at hand, and type variables.
nitpick_ignore_regex = [
    ("py:class", r"((pathlib|signal|collections\.abc)\.)?(Path|Signals|Callable|Mapping)"),
    ("py:class", r"concurrent\.futures\..+"),
    # What a function returns to be used by "with" alone.
    ("py:class", r"pooldaemon\.(connections\.UnitOfWork|tenants\.UseDatabase)"),
    ("py:class", r"(opentelemetry|prometheus_client)\..+"),
    ("py:exc", r"django\..+"),
    ("py:class", r"pooldaemon\..+\.[FT]"),
]
exclude_patterns = ["_build"]
# A role of its own for every word in single backquotes: it is code.
default_role = "code"

html_theme = "furo"
html_title = f"pooldaemon {release}"


def show_results(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add all results that the repository holds to the page of the benchmarks."""
    if page != "benchmarks":
        return
    for server in ("MariaDB", "MySQL"):
        line = "-" * len(server)
        source[0] += f"\n{line}\n{server}\n{line}\n"
        for result in sorted((_ROOT / "benchmarks" / "results").glob(f"*-{server.lower()}.rst")):
            path = f"../benchmarks/results/{result.stem}"
            source[0] += f"\n.. include:: {path}.rst\n"
            if result.with_suffix(".svg").exists():
                source[0] += f"\n.. image:: {path}.svg\n   :alt: The same as a plot.\n"


def setup(app: Sphinx) -> None:
    app.connect("source-read", show_results)
