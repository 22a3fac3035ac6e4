"""What a borrower can leave on a session, as statements that leave it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Residue:
    """
    :ivar statements: run one after the other. `{name}`: the account, in names the server has once.
    :ivar only: the server that knows it: "mysql", "mariadb" or both.
    """

    statements: tuple[str, ...]
    only: str = ""

    def on(self, *, mariadb: bool, name: str) -> list[str]:
        """The statements on this server; none if it has no such thing."""
        if self.only not in ("", "mariadb" if mariadb else "mysql"):
            return []
        return [statement.replace("{name}", name) for statement in self.statements]


def one(*statements: str, only: str = "") -> Residue:
    return Residue(statements, only)


def session_variable(assignment: str, only: str = "") -> Residue:
    return Residue((f"SET SESSION {assignment}",), only)


TRANSACTIONS = {
    "started": one("START TRANSACTION"),
    "begun, with a row": one("BEGIN", "INSERT INTO t (a) VALUES (1)"),
    "with a snapshot": one("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
    "with locked rows": one("BEGIN", "SELECT * FROM t FOR UPDATE"),
    "autocommit off": one("SET autocommit = 0"),
    "autocommit off, with a row": one("SET autocommit = 0", "INSERT INTO t (a) VALUES (1)"),
    "XA started": one("XA START '{name}'"),
    "XA with a row": one("XA START '{name}'", "INSERT INTO t (a) VALUES (1)"),
    "XA ended": one("XA START '{name}'", "INSERT INTO t (a) VALUES (1)", "XA END '{name}'"),
}

STATE = {
    "variable": one("SET @leak = 1"),
    "variable by :=": one("SET @leak := 'x'"),
    "variable in a SELECT": one("SELECT @leak := 1"),
    "variable by INTO": one("SELECT 1 INTO @leak"),
    "quoted variable": one("SET @`leak` = 1"),
    "variable in UPDATE": one("UPDATE t SET b = (@leak := 1) LIMIT 1"),
    "lock": one("SELECT GET_LOCK('{name}', 0)"),
    "lock by DO": one("DO GET_LOCK('{name}', 0)"),
    "two locks": one("SELECT GET_LOCK('{name}', 0), GET_LOCK('{name}2', 0)"),
    "lock in WHERE": one("DELETE FROM t WHERE GET_LOCK('{name}', 0) = 7"),
    "temporary table": one("CREATE TEMPORARY TABLE leak_temporary (a INT)"),
    "temporary table over another": one("CREATE TEMPORARY TABLE t (a INT)"),
    "handler": one("HANDLER t OPEN AS leak"),
    "prepared statement": one("PREPARE leak FROM 'SELECT 1'"),
    "LOCK TABLES READ": one("LOCK TABLES t READ"),
    "LOCK TABLES WRITE": one("LOCK TABLES t WRITE"),
    "database": one("USE information_schema"),
    "isolation": one("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    "read only": one("SET SESSION TRANSACTION READ ONLY"),
    "SET NAMES": one("SET NAMES latin1"),
    "SET CHARACTER SET": one("SET CHARACTER SET latin1"),
    "collation by SET NAMES": one("SET NAMES utf8mb4 COLLATE utf8mb4_bin"),
    "collation": session_variable("collation_connection = utf8mb4_bin"),
    "results' charset": session_variable("character_set_results = latin1"),
    "sql_mode": session_variable("sql_mode = ''"),
    "sql_mode ANSI_QUOTES": session_variable("sql_mode = 'ANSI_QUOTES'"),
    "time zone": session_variable("time_zone = '+05:00'"),
    "frozen clock": one("SET timestamp = 12345"),
    "foreign keys": session_variable("foreign_key_checks = 0"),
    "unique checks": session_variable("unique_checks = 0"),
    "safe updates": session_variable("sql_safe_updates = 1"),
    "select limit": session_variable("sql_select_limit = 1"),
    "wait_timeout": session_variable("wait_timeout = 99"),
    "lock_wait_timeout": session_variable("lock_wait_timeout = 7"),
    "innodb_lock_wait_timeout": session_variable("innodb_lock_wait_timeout = 7"),
    "names of days": session_variable("lc_time_names = 'de_DE'"),
    "precision of divisions": session_variable("div_precision_increment = 9"),
    "GROUP_CONCAT's length": session_variable("group_concat_max_len = 1024000"),
    "auto_increment": session_variable("auto_increment_increment = 10"),
    "insert_id": one("SET insert_id = 99"),
    "auto_is_null": session_variable("sql_auto_is_null = 1"),
    "optimizer switch": session_variable("optimizer_switch = 'index_merge=off'"),
    "execution time": session_variable("max_execution_time = 9999", only="mysql"),
    "statement time": session_variable("max_statement_time = 99", only="mariadb"),
    "oracle mode": session_variable("sql_mode = 'ORACLE'", only="mariadb"),
    "profiling": one("SET profiling = 1", "SELECT 'secret'"),
    "role": one("SET ROLE {name}_role"),
    "resource group": one("SET RESOURCE GROUP {name}_group", only="mysql"),
}
