"""Rules that find what is wrong or wasteful, and say which setting to change.

``manage.py check`` runs the rules on settings and, with ``--database``, on servers;
``manage.py pooldaemon doctor`` also those on load. Every rule has a section in docs/checks.rst.
"""

from __future__ import annotations

from pooldaemon.advice import on_load, on_servers, on_settings
from pooldaemon.advice.case import Case
from pooldaemon.advice.rules import Rule, examine

SETTINGS, DEPLOY = on_settings.RULES, on_settings.DEPLOY
SERVERS, LOAD = on_servers.RULES, on_load.RULES

__all__ = ["DEPLOY", "LOAD", "SERVERS", "SETTINGS", "Case", "Rule", "examine"]
