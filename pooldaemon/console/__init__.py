"""The verbs of ``manage.py pooldaemon``, each in a module of its name.

A module has ``add_arguments(parser)`` and ``run(options, out)``, which raises ``CommandError``. It
is imported only for its verb, so that it may need a package of an extra.
"""

from __future__ import annotations

VERBS: dict[str, str] = {
    "list": "list the daemons of a directory, also those that were killed",
    "top": "show daemons, workers and pools live, with keys to operate them",
    "doctor": "find what is wrong or wasteful, and say which setting to change",
    "pause": "stop pools of a daemon from lending connections, and close them",
    "resume": "end a pause",
    "reconnect": "replace the connections of pools; those in use when they are returned",
    "resize": "change the cap of pools",
}
"""The help of each verb."""
