"""Whether a schema has code that acts when a plain statement runs, and which."""

from __future__ import annotations

from typing import NamedTuple

TRIGGERS = "information_schema.triggers WHERE trigger_schema <> 'sys'"
VIEWS = "information_schema.views WHERE table_schema NOT IN ('sys', 'mysql')"
FUNCTIONS = """information_schema.routines
             WHERE routine_type = 'FUNCTION' AND routine_schema NOT IN ('sys', 'mysql')"""

HIDDEN_CODE = f"""
WITH account AS (
    SELECT CONCAT('''', LEFT(CURRENT_USER(), CHAR_LENGTH(CURRENT_USER()) - CHAR_LENGTH(host) - 1),
                  '''@''', host, '''') AS name
    FROM (SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', -1) AS host) AS current),
grants AS (
    SELECT '*' AS target, privilege_type FROM information_schema.user_privileges, account
    WHERE grantee = name
    UNION ALL
    SELECT table_schema, privilege_type FROM information_schema.schema_privileges, account
    WHERE grantee = name
    UNION ALL
    SELECT CONCAT(table_schema, '.', table_name), privilege_type
    FROM information_schema.table_privileges, account
    WHERE grantee = name),
writable AS (SELECT DISTINCT target FROM grants
             WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE')),
watched AS (SELECT DISTINCT target FROM grants WHERE privilege_type = 'TRIGGER')
SELECT EXISTS (SELECT 1 FROM {TRIGGERS})
  OR EXISTS (SELECT 1 FROM {VIEWS})
  OR EXISTS (SELECT 1 FROM {FUNCTIONS})
  OR NOT EXISTS (SELECT 1 FROM watched WHERE target = '*') AND (
    COALESCE(CURRENT_ROLE(), 'NONE') <> 'NONE'
    OR NOT EXISTS (SELECT 1 FROM writable)
    OR EXISTS (SELECT 1 FROM writable WHERE target NOT IN (SELECT target FROM watched)))
"""  # noqa: S608 - of constants
"""Whether statements may do more than their text tells: there are triggers, views, or functions
(which may bear the name of a built-in); or there may be triggers that this account is not shown,
since it can write where it has no TRIGGER privilege (or its rights come from a role, or from where
these tables do not tell)."""

SEEN_CODE = f"""
SELECT (SELECT COUNT(*) FROM {TRIGGERS}), (SELECT COUNT(*) FROM {VIEWS}),
  (SELECT COUNT(*) FROM {FUNCTIONS})
"""  # noqa: S608 - of constants
"""How many triggers, views and functions the account is shown."""

RECHECK = 60.0
"""Seconds for which an answer is believed; it is asked again with the next new session, since the
question reads the whole schema."""


class Answer(NamedTuple):
    """
    :ivar runs: whether plain statements may run hidden code.
    :ivar asked: when (monotonic seconds, the same clock for all processes of a machine).
    """

    runs: bool
    asked: float

    def is_old(self, now: float) -> bool:
        return now - self.asked > RECHECK


UNASKED = Answer(runs=True, asked=float("-inf"))

heard: dict[int, Answer] = {}
"""What other processes were answered, by the hash of what the session was opened with. A daemon's
supervisor is told, and forks: its workers ask once, not each."""
