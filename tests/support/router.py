"""MySQL Router in front of a server, where it is installed.

    python -m tests.support.router plain COMMAND [ARG…]

runs COMMAND with a DATABASE_URL that leads through it, and with BEHIND_ROUTER=plain; `sharing`
instead of `plain`: with connection_sharing. MYSQLROUTER_ROOT is the root directory that it is
installed in, if that is another one than ours.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts.throwaway_mariadb import free_port
from tests.support.certificate import RSA, can_certify, tls_options
from tests.support.poll import wait_until

ROOT = Path(os.environ.get("MYSQLROUTER_ROOT", "/"))
PROGRAM = "/usr/bin/mysqlrouter"
PATIENCE = 30.0

# With sharing it has to know the password: clients send it over TLS, or encrypted with the RSA key.
CONFIGURATION = """
[DEFAULT]
runtime_folder={directory}

[logger]
level=WARNING

[connection_pool]
max_idle_server_connections=2

[routing:plain]
bind_address=127.0.0.1
bind_port={plain}
destinations={server}
routing_strategy=first-available
protocol=classic

[routing:sharing]
bind_address=127.0.0.1
bind_port={sharing}
destinations={server}
routing_strategy=first-available
protocol=classic
client_ssl_mode=PREFERRED
client_ssl_key={directory}/key.pem
client_ssl_cert={directory}/certificate.pem
server_ssl_mode=PREFERRED
connection_sharing=1
connection_sharing_delay=0
"""


@dataclass(frozen=True)
class Ports:
    plain: int
    sharing: int


def is_installed() -> bool:
    return (ROOT / PROGRAM.lstrip("/")).exists() and can_certify()


@contextmanager
def router_before(server: str) -> Iterator[Ports]:
    """:param server: its host and port."""
    ports = Ports(free_port(), free_port())
    with tempfile.TemporaryDirectory(prefix="router-", dir=ROOT / "tmp") as name:
        directory = Path(name)
        tls_options(directory, RSA)
        inside = Path("/") / directory.relative_to(ROOT)
        text = CONFIGURATION.format(
            directory=inside, server=server, plain=ports.plain, sharing=ports.sharing
        )
        (directory / "router.conf").write_text(text, encoding="utf-8")
        command = [PROGRAM, "--config", str(inside / "router.conf"), "--user", "root"]
        if Path("/") != ROOT:
            command = ["chroot", str(ROOT), *command]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for port in (ports.plain, ports.sharing):
                _wait_for(port, process, directory / "log")
            yield ports
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)  # it waits for its clients otherwise
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def answers() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    wait_until(answers, PATIENCE, "the router does not answer")


def main(kind: str, *command: str) -> int:
    url = urlsplit(os.environ["DATABASE_URL"])
    with router_before(f"{url.hostname}:{url.port or 3306}") as ports:
        login = url.netloc.rpartition("@")[0]
        address = f"{login}@127.0.0.1:{getattr(ports, kind)}"
        through = url._replace(netloc=address).geturl()
        environment = {**os.environ, "DATABASE_URL": through, "BEHIND_ROUTER": kind}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    if not is_installed() or shutil.which(sys.argv[2]) is None:
        sys.exit("mysqlrouter, openssl or the command is not installed")
    sys.exit(main(*sys.argv[1:]))
