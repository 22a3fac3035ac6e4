"""Takes from this process what Windows does not have; then runs a management command.

``python -m tests.support.windows rundaemon shop.unit``
"""

import os
import select
import signal
import sys

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "_posixsubprocess", "daemon")
OF_OS = ("fork", "register_at_fork", "sysconf", "getuid", "geteuid", "getppid", "waitid", "fchdir")
OF_SIGNAL = (
    *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGTTIN", "SIGTTOU", "SIGUSR1"),
    *("SIGUSR2", "SIG_BLOCK", "SIG_SETMASK", "SIG_UNBLOCK", "alarm", "pthread_sigmask"),
    *("siginterrupt", "valid_signals"),
)


def main() -> None:
    # First what itself needs what is about to go.
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL), (select, ("poll",))):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    execute_from_command_line(["manage.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
