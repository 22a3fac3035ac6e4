"""Commands in the documentation: their syntax by bash, their options by the programs' parsers."""

import contextlib
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management import get_commands, load_command_class

from pooldaemon.__main__ import create_parser
from tests.docs.blocks import ROOT, Block

PROMPT = re.compile(r"^[$#] ")
ASSIGNMENT = re.compile(r"^\w+=")
# What ends a simple command, or sends its output elsewhere.
END = re.compile(r"^(>|>>|<|\||&|&&|;)$")


def check_commands(block: Block) -> None:
    found = list(commands(block.text))
    assert found, "no line begins with a prompt"
    for command in found:
        subprocess.run(["bash", "-n", "-c", command], check=True)
        words = shlex.split(command, comments=True)
        while words and ASSIGNMENT.match(words[0]):
            del words[0]
        if words:
            end = next((at for at, word in enumerate(words) if END.match(word)), len(words))
            check(words[0], words[1:end])


def commands(text: str) -> Iterator[str]:
    """Lines with a prompt, with those that continue them; the others show output."""
    lines = iter(text.splitlines())
    for line in lines:
        if PROMPT.match(line):
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + next(lines)
            yield command


def check(program: str, arguments: list[str]) -> None:
    if program in FOREIGN:
        return
    try:
        CHECKS[program](arguments)
    except SystemExit as end:  # how argparse refuses
        raise ValueError(f"{program} does not take {shlex.join(arguments)}") from end


def manage(arguments: list[str]) -> None:
    script, name, *rest = arguments
    if (script, name) == ("-m", "pooldaemon"):
        create_parser().parse_args(rest)
        return
    assert script == "manage.py", script
    command: Any = load_command_class(get_commands()[name], name)
    if name == "pooldaemon":  # each of its verbs has a parser of its own
        command._verb, *rest = rest
    command.create_parser("manage.py", name).parse_args(rest)


def pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    extras = (ROOT / "setup.py").read_text(encoding="utf-8").partition("extras_require=")[2]
    known = set(re.findall(r'^ {8}"(\w+)": ', extras, re.MULTILINE))
    for requirement in arguments[1:]:
        if found := re.match(r"^pooldaemon\[(.+)\]$", requirement):
            assert set(found[1].split(",")) <= known, requirement


def make(arguments: list[str]) -> None:
    targets = [one for one in arguments if not ASSIGNMENT.match(one)]
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:.*## ", rules, re.MULTILINE), target


def gunicorn(arguments: list[str]) -> None:
    from gunicorn.config import Config  # noqa: PLC0415

    Config().parser().parse_args(arguments)


def uvicorn(arguments: list[str]) -> None:
    from uvicorn.main import main  # noqa: PLC0415

    main.make_context("uvicorn", arguments)


def celery(arguments: list[str]) -> None:
    from celery.bin.worker import worker  # noqa: PLC0415

    app, name, verb, *rest = arguments
    assert (app, verb) == ("-A", "worker")
    assert name
    with contextlib.suppress(AttributeError):  # it asks for the app, after the options
        worker.make_context("worker", rest)


def kubectl(arguments: list[str]) -> None:
    inside = arguments[arguments.index("--") + 1 :]
    check(inside[0], inside[1:])


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "celery": celery,
    "gunicorn": gunicorn,
    "kubectl": kubectl,
    "make": make,
    "pip": pip,
    "python": manage,
    "uvicorn": uvicorn,
}
# Other people's programs, which a test can't ask about their options.
FOREIGN = {"apt-get", "curl", "export", "journalctl", "systemctl", "uwsgi"}
