"""A server under load: a real process, and clients that ask it."""

import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.poll import wait_until

BIN = Path(sys.executable).parent
CLIENTS = 8
PATIENCE = 60.0


@contextmanager
def running(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it in a process group of its own; at the end nothing of it is left."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stop(process: subprocess.Popen[bytes], log: Path) -> None:
    process.terminate()
    try:
        status = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # all print where they are
        process.wait()
        raise AssertionError(f"it does not end:\n{log.read_text()}") from None
    assert status in {0, -signal.SIGTERM}, f"status {status}:\n{log.read_text()}"


def ask(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        content: bytes = answer.read()
        return content


def wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(urllib.error.URLError, ConnectionError):
            return bool(ask(url))
        return False

    wait_until(answers, PATIENCE, f"no answer:\n{log.read_text()}")


class Clients:
    """Threads that ask all the time.

    :ivar answers: per answer, how often it came.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._end = threading.Event()
        self.answers: Counter[bytes] = Counter()
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self.answers[ask(self._url)] += 1
            except (OSError, urllib.error.URLError) as error:
                self.errors.append(repr(error))
