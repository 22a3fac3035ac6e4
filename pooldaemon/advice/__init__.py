"""Rules that find what is wrong or wasteful, and say which setting to change.

``manage.py check`` runs the rules on settings and, with ``--database``, on servers;
``manage.py pooldaemon doctor`` also those on load. Every rule has a section in docs/checks.rst.
"""

from __future__ import annotations

from pooldaemon.advice import on_load, on_servers, on_settings
from pooldaemon.advice.case import Case, read_databases, read_max_process, web_processes
from pooldaemon.advice.daemons import configured
from pooldaemon.advice.rules import Rule, examine

SETTINGS, DEPLOY = on_settings.RULES, on_settings.DEPLOY
SERVERS, LOAD = on_servers.RULES, on_load.RULES

__all__ = ["DEPLOY", "LOAD", "SERVERS", "SETTINGS", "Case", "Rule", "examine", "read_case"]


def read_case() -> Case:
    """What the settings say. Opens no connections."""
    return Case(
        databases=read_databases(),
        processes=(web_processes(), *configured()),
        max_process=read_max_process(),
    )
