"""For tests of your own daemons: a daemon as a real process, faults, and waiting with a
deadline."""

from pooldaemon.testing.daemon import DaemonProcess
from pooldaemon.testing.poll import wait_until

__all__ = ["DaemonProcess", "wait_until"]
