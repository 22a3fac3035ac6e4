"""Waiting for what another process or thread is about to do, without a blind sleep."""

from pooldaemon.testing.poll import wait_until

__all__ = ["wait_until"]
