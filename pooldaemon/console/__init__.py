"""The verbs of ``manage.py pooldaemon``, a module for each.

A module has ``add_arguments(parser)`` and ``run(options, out)``, which raises ``CommandError``. It
is imported when its verb is called, so that it may need a package of an extra.
"""

from __future__ import annotations

VERBS: dict[str, str] = {
    "list": "the daemons of a directory, dead ones included",
    "top": "a live view of daemons, workers, pools, with keys to operate them",
    "doctor": "what is wrong or wasteful, and which setting to change to what",
    "pause": "let pools of a daemon lend nothing, and close their connections",
    "resume": "end a pause",
    "reconnect": "replace the connections of pools, those in use when they come back",
    "resize": "change the cap of pools",
}
"""Verb -> what it is for, in a line. The module has the verb's name."""
