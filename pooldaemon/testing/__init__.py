"""For the tests of those who have a daemon: a real process, ways to make it fail, and to wait."""

from pooldaemon.testing.daemon import DaemonProcess
from pooldaemon.testing.poll import wait_until

__all__ = ["DaemonProcess", "wait_until"]
