"""What is wrong or wasteful, and which setting to change to what.

``manage.py check`` tells what the settings and the servers show, ``manage.py pooldaemon doctor``
also what shows under load. Every rule has a section in docs/checks.rst.
"""

from __future__ import annotations

from pooldaemon.advice import on_load, on_servers, on_settings
from pooldaemon.advice.case import Case
from pooldaemon.advice.rules import Rule, examine

SETTINGS, DEPLOY = on_settings.RULES, on_settings.DEPLOY
SERVERS, LOAD = on_servers.RULES, on_load.RULES

__all__ = ["DEPLOY", "LOAD", "SERVERS", "SETTINGS", "Case", "Rule", "examine"]
