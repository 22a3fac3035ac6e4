"""Queries a server for the rules, on a connection that is not from a pool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS

from pooldaemon.advice.case import Code, Database, Server
from pooldaemon.pool.drivers.mysql.sql.catalogue import Rows, ask_all, find_suspects

PATIENCE = 10
"""Seconds that the server has to answer each query."""

VARIABLES = (
    "version",
    "max_connections",
    "max_user_connections",
    "wait_timeout",
    "character_set_connection",
    "character_set_database",
    "skip_name_resolve",
)

STATUS = (
    "Aborted_clients",
    "Aborted_connects",
    "Connection_errors_max_connections",
    "Connections",
    "Max_used_connections",
)


def look(database: Database) -> Database:
    """*database* with what its server answers. Other databases than pooldaemon's for MySQL are
    returned unchanged.

    :raises django.db.DatabaseError: the server does not answer.
    :raises ImproperlyConfigured: the settings are wrong.
    """
    if not database.is_ours or database.vendor != "mysql":
        return database
    options = {"read_timeout": PATIENCE, **database.options}
    # Connections of this alias are not pooled, so that this works while the pool is full.
    wrapper: Any = type(connections[database.alias])(
        {**database.settings, "OPTIONS": options}, NO_DB_ALIAS
    )
    try:
        with wrapper.cursor() as cursor:
            return replace(database, server=_ask(cursor, wrapper.mysql_is_mariadb))
    finally:
        wrapper.close()


def _ask(cursor: Any, is_mariadb: bool) -> Server:
    isolation = "tx_isolation" if is_mariadb else "transaction_isolation"
    names = (*VARIABLES, isolation)
    cursor.execute("SELECT " + ", ".join(f"@@{name}" for name in names))
    variables = dict(zip((*VARIABLES, "isolation"), cursor.fetchone(), strict=True))
    cursor.execute("SELECT CONCAT(@@hostname, ':', @@port), CURRENT_USER()")
    name, account = cursor.fetchone()
    cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN %s", [STATUS])
    status = {counter: int(value) for counter, value in cursor.fetchall()}
    cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    ((_, cipher),) = cursor.fetchall()
    return Server(name, account, variables, status, cipher, _look_for_code(cursor, is_mariadb))


def _look_for_code(cursor: Any, is_mariadb: bool) -> Code:
    def ask(question: str) -> Rows:
        cursor.execute(question)
        rows: Rows = cursor.fetchall()
        return rows

    ((schema,),) = ask("SELECT DATABASE()")
    catalogue = ask_all(schema or "", mariadb=is_mariadb, ask=ask)
    suspects = find_suspects(catalogue)
    named = (suspects.names | suspects.written) - suspects.functions
    return Code(
        suspects=tuple(sorted(".".join(filter(None, pair)) for pair in named)),
        unseen=tuple(sorted(catalogue.unseen())),
        all_writes="" in suspects.written_schemas,
        everything=suspects.anything,
    )
