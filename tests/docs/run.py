"""Run the code blocks of all pages: python -m tests.docs.run

In a copy of project/, to which the files that the pages show are added. Every block has a forked
child of its own, so that a fork, a patch or a setting of one is nobody else's. Failures are
reported with their place in the page.

* Settings are loaded over the project's, and have to pass all system checks without a warning.
* Other Python is run, and then every function and daemon command in it is called.
* Commands are parsed (console.py), and so is YAML and ini.
"""

import ast
import asyncio
import configparser
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import django
import yaml
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.management import call_command

from pooldaemon import BaseDaemonCommand, close_pool
from pooldaemon.exceptions import PoolError
from pooldaemon.workers.worker.completion import complete
from tests.docs.blocks import Block, every_block
from tests.docs.console import check_commands
from tests.docs.exceptions import NOT_CALLED, exception

NOT_CODE = {"text"}
PARSERS = {
    "ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}


def main() -> int:
    found = [one for one in every_block() if one.language not in NOT_CODE and not exception(one)]
    for block in found:
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:  # a page may show it piece by piece
                file.write(block.text)
    failures = [block for block in found if is_settings(block) and not in_child(load, block)]
    django.setup()
    call_command("migrate", "shop", run_syncdb=True, verbosity=0)
    close_pool()
    failures += [block for block in found if not is_settings(block) and not in_child(run, block)]
    return 1 if failures else 0


def in_child(function: Callable[[Block], None], block: Block) -> bool:
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        function(block)
        status = 0
    except BaseException:  # noqa: BLE001 - SystemExit, too
        sys.stderr.write(f"--- {block}\n{traceback.format_exc()}")
    finally:
        sys.stderr.flush()
        os._exit(status)


def is_settings(block: Block) -> bool:
    if block.language != "python" or block.file:
        return False
    if is_part_of_a_database(block):
        return True
    statements = [
        one
        for one in ast.parse(block.text).body
        if not isinstance(one, ast.Import | ast.ImportFrom)
    ]
    return all(
        isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and one.targets[0].id.isupper()
        for one in statements
    )


def is_part_of_a_database(block: Block) -> bool:
    return block.first_line.startswith('"OPTIONS"')


def load(block: Block) -> None:
    """Check the settings, those in which the list goes on ("# …") together with the project's."""
    values = {
        **{name: value for name, value in vars(__import__("settings")).items() if name.isupper()},
        "DATABASES": {"default": {"ENGINE": "pooldaemon.backends.mysql", "NAME": "shop"}},
    }
    if is_part_of_a_database(block):
        values["DATABASES"]["default"] |= eval(f"{{{block.text}}}")
    else:
        for name, value in execute(block).items():
            if name in {"INSTALLED_APPS", "MIDDLEWARE"}:
                values[name] += [one for one in value if one not in values[name]]
            elif name.isupper():
                values[name] = value
    settings.configure(**values)
    django.setup()
    call_command("check", databases=[], fail_level="WARNING")  # there is no such server
    BaseHandler().load_middleware()


def run(block: Block) -> None:
    if block.language == "console":
        check_commands(block)
    elif block.language in PARSERS:
        PARSERS[block.language](block.text)
    elif block.language == "python":
        if "multiprocess" in block.text:  # which reads it when it is imported
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path.cwd())
        namespace = execute(block)
        for name in definitions(block):
            use(namespace[name])
    else:
        raise ValueError(f"nobody knows how to try {block.language!r}")


def definitions(block: Block) -> list[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    found = [one.name for one in ast.parse(block.text).body if isinstance(one, kinds)]
    return [name for name in found if name not in NOT_CALLED]


def execute(block: Block) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "documentation"}
    # With the lines before it, so that a traceback names the right one.
    code = compile("\n" * (block.line - 1) + block.text, block.page, "exec")
    exec(code, namespace)
    return namespace


def use(defined: Any) -> None:
    from tests.docs.given import arguments  # noqa: PLC0415 - models, so after the setup

    given = arguments()
    close_pool()
    if not inspect.isclass(defined):
        call(defined, given)
    elif issubclass(defined, BaseDaemonCommand):
        command = defined()
        command.worker_init(given["worker"])
        assert complete(command.perform)(given["ctx"]), "perform() found nothing to do"
        command.worker_exit(given["worker"])  # what it has started would outlive the block
    elif hasattr(defined, "process_exception"):
        middleware = defined(lambda _request: None)
        assert middleware.process_exception(given["request"], PoolError()).status_code == 503
        assert middleware.process_exception(given["request"], ValueError()) is None


def call(function: Callable[..., Any], given: dict[str, Any]) -> None:
    wanted = [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.kind is not one.VAR_KEYWORD
    ]
    if unknown := set(wanted) - set(given):
        raise LookupError(f"given.py has nothing for {unknown} of {function}")
    result = function(**{name: given[name] for name in wanted})
    if inspect.iscoroutine(result):
        asyncio.run(finish(result))


async def finish(view: Coroutine[Any, Any, Any]) -> None:
    response = await view
    if getattr(response, "streaming", False):
        async for _ in response:
            pass
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))


if __name__ == "__main__":
    sys.exit(main())
