"""All that a borrower can see of a session: its complete observable state."""

from typing import Any

from tests.isolation.borrowing import fails_with, last_value

State = dict[str, Any]

USER = "SUBSTRING_INDEX(USER(), '@', 1)"
LOCKS = ("'leak'", "'leak2'", USER, f"CONCAT({USER}, 2)")

# They differ from one statement or session to the next and nobody set them.
VOLATILE = frozenset(
    {
        "warning_count",
        "error_count",
        "pseudo_thread_id",
        "timestamp",
        "rand_seed1",
        "rand_seed2",
        "statement_id",
    }
    | {"last_insert_id", "identity"}  # see test_last_results.py
    | {"original_commit_timestamp", "gtid_executed", "gtid_purged", "gtid_owned", "in_transaction"}
    | {"gtid_binlog_pos", "gtid_binlog_state", "gtid_current_pos", "last_gtid"}
    | {"general_log", "log_output"}  # the server's own, which tests beside these switch
)

SELECTED = (
    "DATABASE()",
    "CURRENT_ROLE()",
    "CURRENT_USER()",
    "CHARSET('x')",
    "COLLATION('x')",
    "'ss' = 'ß'",
    "'a' = 'A'",
    "@@session.sql_mode",
    "ABS(UNIX_TIMESTAMP() - UNIX_TIMESTAMP(SYSDATE())) < 60",
    "(SELECT COUNT(*) FROM t)",
    # The server has one name for all; somebody else may run these tests too.
    *(f"IS_USED_LOCK({name}) <=> CONNECTION_ID()" for name in LOCKS),
)

USER_VARIABLES = {
    True: "SELECT GROUP_CONCAT(variable_name) FROM information_schema.user_variables",
    False: "SELECT GROUP_CONCAT(variable_name) FROM performance_schema.user_variables_by_thread"
    " WHERE thread_id = PS_CURRENT_THREAD_ID()",
}

IN_TRANSACTION = {
    True: "SELECT @@in_transaction",
    False: "SELECT COUNT(*) FROM performance_schema.events_transactions_current"
    " WHERE thread_id = PS_CURRENT_THREAD_ID() AND state = 'ACTIVE' AND autocommit = 'NO'",
}

# Each works only for who finds it left behind; the numbers say that it is not there.
DOORS = {
    "temporary table": "SELECT * FROM leak_temporary",
    "handler": "HANDLER leak READ FIRST",
    "prepared statement": "EXECUTE leak",
    "LOCK TABLES": "SELECT * FROM unlocked",
}

RESOURCE_GROUP = (
    "SELECT resource_group FROM performance_schema.threads WHERE processlist_id = CONNECTION_ID()"
)


def observe(connection: Any, *, mariadb: bool) -> State:
    """Look, with the one who has just borrowed. Leaves the session as unclean as it likes."""
    handle = connection.connection
    state: State = {
        "driver's autocommit": handle.get_autocommit(),
        "driver's charset": handle.character_set_name(),
        "driver's encoding": handle.encoding,
        "driver's cursor class": handle.cursorclass,
    }
    with connection.cursor() as cursor:
        cursor.execute("SHOW PROFILES")
        state["profiles"] = cursor.fetchall()
        cursor.execute(f"SELECT {', '.join(SELECTED)}")
        state |= dict(zip(SELECTED, cursor.fetchone(), strict=True))
        cursor.execute("SHOW SESSION VARIABLES")
        state |= {f"@@{name}": value for name, value in cursor if name not in VOLATILE}
    state["user variables"] = last_value(connection, USER_VARIABLES[mariadb])
    state["in a transaction"] = last_value(connection, IN_TRANSACTION[mariadb])
    state |= {door: fails_with(connection, sql) for door, sql in DOORS.items()}
    if not mariadb:
        state["resource group"] = last_value(connection, RESOURCE_GROUP)
    return state


def differences(before: State, after: State) -> dict[str, tuple[Any, Any]]:
    """What *after* has otherwise: name to both values."""
    return {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }
