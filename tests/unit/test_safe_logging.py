"""Log calls of the package, with handlers that raise, block, or have lost their file."""

import ast
import errno
import io
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pooldaemon
from pooldaemon.workers.process import logfiles, safe_logging

LOGGER = logging.getLogger("pooldaemon.supervisor")


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise FileNotFoundError(2, "No such file or directory")


class Blocking(logging.Handler):
    """Waits for ever, and catches what ends the wait, as many do."""

    calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        for _ in range(3):
            try:
                time.sleep(60)
            except TimeoutError:
                self.handleError(record)


class Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The supervisor's logger, with no handlers but the test's."""
    before = LOGGER.handlers, LOGGER.propagate
    LOGGER.handlers, LOGGER.propagate = [], False
    monkeypatch.setattr(safe_logging, "_troubles", {})
    safe_logging.protect()
    yield LOGGER
    LOGGER.handlers, LOGGER.propagate = before
    for name in safe_logging.LOGGERS:
        del logging.getLogger(name).callHandlers


def test_every_logger_of_the_package_is_protected() -> None:
    found = set()
    for path in Path(pooldaemon.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    assert found - {"pooldaemon"} == set(safe_logging.LOGGERS)


def test_a_handler_that_raises_stops_neither_the_caller_nor_the_other_handlers(
    log: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    broken, collecting = Broken(), Collecting()
    log.handlers = [broken, collecting]
    for number in range(3):
        log.error("line %d", number)
    assert collecting.texts == ["line 0", "line 1", "line 2"]
    line = "pooldaemon: can't log to Broken: FileNotFoundError: [Errno 2] No such file or directory"
    assert capfd.readouterr().err.splitlines() == [line]
    (trouble,) = safe_logging.describe_troubles()
    assert (trouble["what"], trouble["times"]) == ("log to Broken", 3)
    broken.emit = collecting.emit
    log.error("line 3")
    assert safe_logging.describe_troubles() == []
    assert "can log to Broken again" in capfd.readouterr().err


def test_a_handler_that_blocks_is_broken_off_and_then_left_alone_for_a_while(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_logging, "LONGEST_CALL", 0.1)
    blocking, collecting = Blocking(), Collecting()
    log.handlers = [blocking, collecting]
    began = time.monotonic()
    for number in range(3):
        log.error("line %d", number)
    assert time.monotonic() - began < 10
    assert collecting.texts == ["line 0", "line 1", "line 2"]


def test_standard_error_that_nobody_reads_costs_lines_and_no_more(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_logging, "PATIENCE", 0.1)
    read_end, write_end = os.pipe()
    handler = safe_logging.StandardError()
    with os.fdopen(write_end, "w") as stream:
        handler.stream = stream
        log.handlers = [handler]
        for _ in range(200):
            log.error("x" * 1000)
        (trouble,) = safe_logging.describe_troubles()
        assert trouble["what"] == "log to standard error"
        assert 100 < trouble["times"] < 200
        read = os.read(read_end, 1 << 20)
        assert len(read) >= 32768
        log.error("read again")
        assert os.read(read_end, 1 << 20).endswith(b"read again\n")
        assert safe_logging.describe_troubles() == []
    os.close(read_end)


def test_a_log_file_whose_directory_has_gone_is_written_again_when_it_is_back(
    log: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "daemon.log"
    path.parent.mkdir()
    handler = logfiles.LogFile(str(path))
    other = logging.getLogger("of a library")  # whose calls are not protected
    other.propagate, other.handlers = False, [handler]
    log.handlers = [handler]
    log.error("before")
    path.unlink()
    path.parent.rmdir()
    log.error("without")
    other.error("without")
    (trouble,) = safe_logging.describe_troubles()
    assert (trouble["what"], trouble["times"]) == (f"log to {path}", 2)
    path.parent.mkdir()
    log.error("after")
    assert safe_logging.describe_troubles() == []
    assert path.read_text() == "after\n"
    lines = capfd.readouterr().err.splitlines()
    assert [f"log to {path}" in line for line in lines] == [True, True]
    handler.close()


def test_a_log_file_that_was_rotated_into_one_of_another_user_goes_on_in_the_old_one(
    log: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rotated = tmp_path / "daemon.log", tmp_path / "daemon.log.1"
    handler = logfiles.LogFile(str(path))
    log.handlers = [handler]
    log.error("before")
    path.rename(rotated)

    def refuse() -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(handler, "_open", refuse)
        log.error("meanwhile")
        assert len(safe_logging.describe_troubles()) == 1
    log.error("after")
    assert rotated.read_text() == "before\nmeanwhile\n"
    assert path.read_text() == "after\n"
    handler.close()


class FullDisk(io.StringIO):
    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def flush(self) -> None:
        if not self.closed and self.getvalue():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_reported_once(
    log: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = logfiles.LogFile(str(tmp_path / "daemon.log"))
    log.handlers = [handler]
    stream = handler.stream
    handler.stream = FullDisk(stream.fileno())
    for _ in range(3):
        log.error("a line")
    handler.stream = stream
    (line,) = capfd.readouterr().err.splitlines()
    assert "daemon.log: OSError: [Errno 28] No space left on device" in line
    log.error("a line")
    assert "again" in capfd.readouterr().err
    assert safe_logging.describe_troubles() == []
    handler.close()
