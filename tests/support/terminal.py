"""A real terminal: a screen of tmux, with somebody who types and looks."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.support.poll import wait_until

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")

ENDED = "ended with status "
TIMEOUT = 60.0  # seconds for what takes two on an idle machine


class Terminal:
    """Runs `command` on a screen of its own, which outlives it and shows its exit status.

    `directory` is for tmux's own files, `cwd` is where the command works. Nothing of the user's
    configuration is read.
    """

    def __init__(
        self,
        directory: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        size: tuple[int, int],
        cwd: Path,
    ) -> None:
        self._directory = directory
        self._command = command
        self._environment = environment
        self._size = size
        self._cwd = cwd

    def __enter__(self) -> Self:
        width, height = map(str, self._size)
        # tmux itself may lose the status of a command that ends on a busy machine.
        shell = f'"$@"; echo "{ENDED}$?"; read -r _'
        self._tmux(
            *("-f", "/dev/null", "-u", "new-session", "-d", "-x", width, "-y", height),
            *("-c", str(self._cwd), "--", "sh", "-c", shell, "sh", *self._command),
        )
        self._tmux("set-option", "-g", "status", "off")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._tmux("kill-server")

    @property
    def pid(self) -> int:
        """That of the shell which has started the command."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def press(self, *keys: str) -> None:
        """Characters, and tmux's names of keys."""
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, *, styled: bool = False) -> str:
        """What is on it now; with its escape sequences, or without."""
        lines = self._tmux("capture-pane", "-p", *(["-e"] if styled else [])).splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def wait_for(self, *texts: str) -> str:
        """Returns the first screen that has all of them."""
        seen = ""

        def shown() -> bool:
            nonlocal seen
            seen = self.screen()
            return all(text in seen for text in texts)

        try:
            wait_until(shown, TIMEOUT, f"{texts} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}") from None
        return seen

    def ends_with(self) -> int:
        """The command's exit status, once it has ended."""
        return int(self.wait_for(ENDED).partition(ENDED)[2].split()[0])

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._directory / "tmux"), *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
