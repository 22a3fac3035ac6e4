"""``--print-systemd``: a unit file that runs the same command line."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pooldaemon.conf import DaemonConfig
from pooldaemon.workers.process.health import STOP_MARGIN
from pooldaemon.workers.process.invocation import Invocation

FLAG = "--print-systemd"

TEMPLATE = """\
# Written by {written_by}
[Unit]
Description={description}
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
WorkingDirectory={directory}
{environment}ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
TimeoutStartSec={start}
TimeoutStopSec={stop}
WatchdogSec=30
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=1 2

[Install]
WantedBy=multi-user.target
"""


def unit_file(name: str, description: str, config: DaemonConfig) -> str:
    """A unit file with the working directory and the settings module of this process.

    :param name: the command's name.
    :param description: for the unit; empty: *name*.
    """
    invocation = Invocation.of_this_process()
    arguments = [word for word in invocation.arguments if word != FLAG]
    settings = os.environ.get("DJANGO_SETTINGS_MODULE")
    variables = {"DJANGO_SETTINGS_MODULE": settings} if settings else {}
    if os.path.realpath(invocation.directory) != invocation.directory:
        # systemd does not set PWD. A reload needs the name with its link, not what it points to
        # now.
        variables["PWD"] = invocation.directory
    return TEMPLATE.format(
        written_by=f"manage.py {name} {FLAG}",
        description=_escape(description or name),
        directory=_escape(invocation.directory),
        environment="".join(
            f'Environment="{name}={_escape(value)}"\n' for name, value in variables.items()
        ),
        command=_quote([invocation.executable, *arguments]),
        # The first worker boots, then all others at once.
        start=round(config.setup_timeout + 2 * config.boot_timeout) + STOP_MARGIN,
        stop=round(config.stop_timeout) + STOP_MARGIN,
    )


def _quote(words: Sequence[str]) -> str:
    """A command line for systemd: words in double quotes where needed, and nothing expanded."""
    quoted = []
    for word in words:
        text = _escape(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
        plain = word and all(letter.isalnum() or letter in "-_./=:,@+" for letter in word)
        quoted.append(text if plain else f'"{text}"')
    return " ".join(quoted)


def _escape(text: str) -> str:
    return text.replace("%", "%%")
