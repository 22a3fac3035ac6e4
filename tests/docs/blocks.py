"""The code blocks of the documentation."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.rst", *sorted(DOCS.rglob("*.rst"))]
DIRECTIVE = re.compile(r"^( *)\.\. code-block:: *(\w*)$")
FILE = re.compile(r"^# ([\w./]+\.py)$")


@dataclass(frozen=True)
class Block:
    """:ivar line: of its first line in the page, from 1."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str | None:
        """The file that it shows, if its first line says so."""
        found = FILE.match(self.first_line)
        return found and found[1]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if found := DIRECTIVE.match(line):
            begin = number + 1
            while not lines[begin].strip():
                begin += 1
            end = begin
            while end < len(lines) and (
                not lines[end].strip() or indent(lines[end]) > len(found[1])
            ):
                end += 1
            text = textwrap.dedent("\n".join(lines[begin:end])).rstrip() + "\n"
            yield Block(page, begin + 1, found[2], text)


def example(page: str, file: str) -> str:
    """What a page shows of a file: ``example("howto/gunicorn.rst", "gunicorn.conf.py")``."""
    (found,) = (block.text for block in blocks(DOCS / page) if block.file == file)
    return found


def every_block() -> Iterator[Block]:
    for page in PAGES:
        yield from blocks(page)


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())
