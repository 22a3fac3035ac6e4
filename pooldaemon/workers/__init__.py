"""Processes and threads that do units of work.

In the parent: :mod:`supervisor` and, for each child, a :mod:`handle`. In the child:
:mod:`worker` and its :mod:`threads`. Between them: :mod:`channel`.
"""
