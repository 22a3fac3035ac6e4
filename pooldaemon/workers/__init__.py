"""Processes and threads that do units of work.

:mod:`.supervisor` runs in the parent process, :mod:`.worker` in its children; :mod:`.ipc` is what
they exchange, and :mod:`.process` serves both.
"""
