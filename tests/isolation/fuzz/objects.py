"""Schemas made at random: views, functions and triggers that use each other, some of which leak.

The account makes most of them itself, since only a function's definer is shown its body; some are
made by another one, and some are in a schema of which it does not see all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from MySQLdb import Error

from tests.isolation.fuzz import sql
from tests.isolation.fuzz.writer import COMMENTS, Rules
from tests.mysql.scratch import Scratch
from tests.support.server import Admin

NAMES = (
    "fine", "Fine", "FINE", "over it", "a`b", "a'b", 'a"b', "a.b", "ä", "Ä", "表", "select", "v$1",
    "$v",
    "in", "count", "rank", "a%b", "%s", "x@y", "12", "1e5", "get_lock", "a;b", "/*", "--",
    "last_insert_id",
    "now", "t", "x", "sys", "nextval", "a\\b", "a b", "lower", "_x", "coalesce", "\u212aelvin",
    "audits", "v2",
    "e\u0301", "uuid", "a\xa0b", "words_", "numbers1", "date", "left", "if", "values",
)  # fmt: skip

ENDS = (
    "SET @leak = 1", "DO GET_LOCK('leak', 0)", "SELECT 1 INTO @leak",
    "SET SESSION div_precision_increment = 9",
    "SET @`leak` := 'x'", "SET @leak = LAST_INSERT_ID(1734005001)", "SET x = GET_LOCK('leak', 0)",
    "SELECT a INTO @leak FROM t LIMIT 1", "SET x = (SELECT @leak := 1)",
    "IF 1 THEN SET @leak = 1; END IF",
    "INSERT INTO fuzzed (a) VALUES (GET_LOCK(7, 0))", "/*! SET @leak = 1 */ DO 1",
    "SET x = NEXTVAL(s)",
    "WHILE x < 1 DO SET x = x + 1, @leak = 1; END WHILE", "CALL leaves()",
    "SET div_precision_increment = 9",
    "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION SET @leak = 1; SIGNAL SQLSTATE '45000'; END",
    "SET x = (SELECT MAX(LAST_INSERT_ID(a)) FROM t)", "UPDATE fuzzed SET a = (@leak := 1)",
)  # fmt: skip

HARMLESS = (
    "SET x = 1", "SET x = x + 1", "SET x = (SELECT MAX(a) FROM t)",
    "INSERT INTO fuzzed (a) VALUES (1)",
    "IF x > 1 THEN SET x = 2; ELSE SET x = 3; END IF", "UPDATE fuzzed SET a = 2 WHERE a = 1",
    "BEGIN DECLARE y INT DEFAULT 5; SET y = y + 1; END", "DELETE FROM fuzzed WHERE a = 99",
    "CASE x WHEN 1 THEN SET x = 2; ELSE SET x = '@leak := 1; GET_LOCK('; END CASE",
    "SET x = CHAR_LENGTH('it''s @leak')", "REPEAT SET x = x + 1; UNTIL x > 3 END REPEAT",
)  # fmt: skip


WRITING = "RETURNS INT DETERMINISTIC MODIFIES SQL DATA"


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@dataclass(frozen=True)
class Made:
    """Something of a schema.

    :ivar kind: `table` for what can be written, `view` or `function`.
    """

    kind: str
    schema: str
    name: str


class Objects:
    """
    :param scratch: whose own schema is filled, and another one beside it.
    """

    def __init__(self, random: Random, scratch: Scratch, *, mariadb: bool) -> None:
        self.random = random
        self._mariadb = mariadb
        self._admin = scratch.admin
        self._account = scratch.account
        self.own = scratch.account.name
        self.other = f"{self.own}other"
        self.made: list[Made] = []
        self._promised: list[str] = []
        """Functions that are called before they are there."""

    def make(self, most: int) -> None:
        """Fill both schemas anew."""
        run, pick = self._admin.query, self.random.choice
        for schema in (self.own, self.other):
            run(f"DROP DATABASE IF EXISTS {schema}")
            run(f"CREATE DATABASE {schema} CHARACTER SET utf8mb4")
            for table in ("t", "words", "fuzzed", "unlocked"):
                run(f"CREATE TABLE {schema}.{table} (a INT, b VARCHAR(200))")
                run(f"INSERT INTO {schema}.{table} VALUES (1, 'x'), (2, 'y')")
            run(f"CREATE TABLE {schema}.numbers (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")
            run(f"CREATE PROCEDURE {schema}.leaves () SET @leak = 1")
            if self._mariadb:
                run(f"CREATE SEQUENCE {schema}.s")
        everything = f"GRANT ALL ON {self.other}.* TO '{self.own}'@'%'"
        run(everything)
        names = self.random.sample(NAMES, most)
        self._promised = names[:3]
        self.made = [
            Made("table", schema, table)
            for schema in (self.own, self.other)
            for table in ("t", "fuzzed", "words", "numbers")
        ]
        with Admin(self._account.url) as itself:
            for number in range(self.random.randint(most // 2, most)):
                name = names[number % len(names)]
                schema = self.other if self.random.random() < 0.25 else self.own
                by = self._admin if self.random.random() < 0.1 else itself
                with suppress(Error):  # not every name and body is possible
                    self._make_one(by, schema, name)
        if self.random.random() < 0.5:
            for statement in pick(self._restrictions()):
                with suppress(Error):
                    run(statement)

    def _restrictions(self) -> list[list[str]]:
        account = f"'{self.own}'@'%'"
        return [
            [f"REVOKE TRIGGER ON {self.own}.* FROM {account}"],
            [f"REVOKE SHOW VIEW ON {self.own}.* FROM {account}"],
            [f"REVOKE TRIGGER, SHOW VIEW ON {self.other}.* FROM {account}"],
            [
                f"REVOKE ALL ON {self.other}.* FROM {account}",
                f"GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON {self.other}.* TO {account}",
            ],
            [
                f"REVOKE ALL ON {self.other}.* FROM {account}",
                f"GRANT SELECT, INSERT ON {self.other}.t TO {account}",
                f"GRANT SELECT, UPDATE ON {self.other}.fuzzed TO {account}",
            ],
            [f"REVOKE EXECUTE ON {self.other}.* FROM {account}"],
        ]

    def restore(self) -> None:
        self._admin.query(f"GRANT ALL ON {self.own}.* TO '{self.own}'@'%'")

    def remove(self) -> None:
        self._admin.query(f"DROP DATABASE IF EXISTS {self.other}")

    def change(self) -> None:
        """Somebody else replaces something by what leaks, or adds it."""
        pick, run = self.random.choice, self._admin.query
        run(f"USE {self.own}")
        one = pick(self.made)
        target = f"{one.schema}.{quoted(one.name)}"
        leaks = f"BEGIN DECLARE x INT DEFAULT 0; {pick(ENDS)}; RETURN x; END"
        with suppress(Error):
            if one.kind == "function":
                run(f"DROP FUNCTION {target}")
                run(f"CREATE FUNCTION {target} () {WRITING} {leaks}")
            elif one.kind == "view":
                run(f"CREATE FUNCTION {one.schema}.late () {WRITING} {leaks}")
                run(f"CREATE OR REPLACE VIEW {target} AS SELECT {one.schema}.late() AS a, 1 AS b")
            else:
                run(self._trigger(one, "late", pick(ENDS)))

    def _make_one(self, by: Admin, schema: str, name: str) -> None:
        by.query(f"USE {schema}")
        kind = self.random.random()
        if kind < 0.35:
            statement = self._function(schema, name)
            made = Made("function", schema, name)
        elif kind < 0.7:
            statement = f"CREATE VIEW {quoted(name)} AS {self._query(schema)}"
            made = Made("view", schema, name)
        elif kind < 0.9 or not self._mariadb:
            table = self._one("table")
            by.query(f"USE {table.schema}")
            by.query(self._trigger(table, name, self._body(table.schema)))
            return
        else:
            # Not of a variable: MariaDB 10.11 crashes when several sessions use the table.
            default = self.random.choice(
                ("NEXTVAL(s)", "LASTVAL(s)", "1", "(NEXT VALUE FOR s)", self._call(schema))
            )
            statement = f"CREATE TABLE {quoted(name)} (a INT DEFAULT {default}, b VARCHAR(200))"
            made = Made("table", schema, name)
        by.query(statement)
        self.made.append(made)

    def _body(self, schema: str) -> str:
        random = self.random
        body = [random.choice(HARMLESS) for _ in range(random.randint(1, 2))]
        if random.random() < 0.25:
            body.append(random.choice(ENDS))
        if random.random() < 0.5:
            body.append(f"SET x = {self._call(schema)}")
        if random.random() < 0.2:
            target = self._one("table", "view")
            body.append(f"INSERT INTO {self._qualified(target, schema)} (a) VALUES (5)")
        random.shuffle(body)
        return "; ".join(body)

    def _function(self, schema: str, name: str) -> str:
        if self.random.random() < 0.15:
            body = f"RETURN ({self._query(schema)} LIMIT 1)"
        else:
            body = f"BEGIN DECLARE x INT DEFAULT 0; {self._body(schema)}; RETURN x; END"
        return f"CREATE FUNCTION {quoted(name)} () {WRITING} {body}"

    def _trigger(self, table: Made, name: str, body: str) -> str:
        moment = self.random.choice(("BEFORE", "AFTER"))
        event = self.random.choice(("INSERT", "UPDATE", "DELETE"))
        return (
            f"CREATE TRIGGER {table.schema}.{quoted(name)} {moment} {event}"
            f" ON {table.schema}.{quoted(table.name)} FOR EACH ROW"
            f" BEGIN DECLARE x INT DEFAULT 0; {body}; END"
        )

    def _query(self, schema: str) -> str:
        source = self._qualified(self._one("table", "view"), schema)
        return self.random.choice(
            (
                f"SELECT a FROM {source}",
                f"SELECT a, a AS b FROM {source}",
                f"SELECT {self._call(schema)} AS a, 1 AS b",
                f"SELECT {self._call(schema)} AS a FROM {source} AS x",
                f"SELECT a FROM (SELECT a FROM {source}) AS x WHERE a < {self._call(schema)}",
                f"SELECT 1 AS a UNION SELECT {self._call(schema)}",
            )
        )

    def _call(self, schema: str) -> str:
        if self.random.random() < 0.3:
            return f"{quoted(self.random.choice(self._promised))}()"
        if not any(one.kind == "function" for one in self.made):
            return "ABS(1)"
        return f"{self._qualified(self._one('function'), schema)}()"

    def _one(self, *kinds: str) -> Made:
        """Rather one of the last ones, so that chains become long."""
        among = [one for one in self.made if one.kind in kinds]
        return self.random.choice(among[-4:] if self.random.random() < 0.7 else among)

    def _qualified(self, one: Made, schema: str) -> str:
        if one.schema == schema and self.random.random() < 0.5:
            return quoted(one.name)
        return f"{quoted(one.schema)}.{quoted(one.name)}"

    def spelled(self, one: Made) -> str:
        """Its name, in one of the ways in which a statement may have it."""
        random = self.random
        name = one.name
        plain = name.isidentifier() or (name.isascii() and name.replace("$", "").isalnum())
        change: Callable[[str], str] = random.choice((str, str, str, str.upper, str.lower))
        if one.kind == "function" or random.random() < 0.1:
            name = change(name)
        spelled = random.choice(
            (quoted(name), quoted(name), *((name, name) if plain else ()), f'"{name}"')
        )
        if one.schema == self.own and random.random() < 0.6:
            return spelled
        schema = random.choice((one.schema, one.schema, quoted(one.schema), f'"{one.schema}"'))
        dot = random.choice((".", ".", ".", " . ", ". ", f".{random.choice(COMMENTS)}"))
        return f"{schema}{dot}{spelled}"

    def rules(self) -> Rules:
        """The grammar of statements that name them."""
        fewer = [one for one in self.made if one.kind != "table" or self.random.random() < 0.5]
        spelled = [(one.kind, self.spelled(one)) for one in fewer or self.made for _ in range(3)]
        tables = [name for kind, name in spelled if kind == "table"] or ["t"]
        readable = [name for kind, name in spelled if kind != "function"]
        called = [name for kind, name in spelled if kind == "function"] or ["ABS"]
        called += [quoted(name) for name in self._promised]
        return sql.PARTS | {
            "<called>": sql.each(*called),
            "<readable>": sql.each(*readable),
            "<writable>": sql.each(*tables, *readable[:3]),
            "<call>": [*["<called> ~ ( )"] * 20, *sql.HARMLESS_CALLS],
            "<usual_table>": ["<readable> AS x", "<readable> AS x", "<readable> x", "t AS x",
                              "<readable> AS x , t AS z", "t AS z , <readable> AS x"],
            "<naming>": [
                "SELECT <called> ~ ( )", "SELECT a FROM <readable>",
                "SELECT * FROM <readable> LIMIT 2",
                "SELECT COUNT(*) FROM <readable> AS x",
                "SELECT x.a FROM t AS x JOIN <readable> AS y ON x.a = y.a",
                "INSERT INTO <writable> ( a ) VALUES ( 1 )",
                "INSERT INTO <writable> ( a ) SELECT a FROM <readable> LIMIT 1",
                "UPDATE <writable> SET a = 3", "DELETE FROM <writable>",
                "REPLACE INTO <writable> ( a ) VALUES ( 2 )",
                "INSERT INTO <writable> ( b ) VALUES ( 1 )",
                "INSERT INTO <writable> ( ) VALUES ( )",
                "INSERT IGNORE INTO <writable> SET a = <called> ~ ( )",
                "UPDATE <writable> AS x SET x.a = <called> ~ ( )",
                "INSERT INTO <writable> ( a ) VALUES ( 1 ) ON DUPLICATE KEY UPDATE a = 2",
                "DELETE FROM <writable> LIMIT 1",
                "WITH y AS ( SELECT a FROM <readable> ) SELECT a FROM y",
                "SELECT ( SELECT a FROM <readable> LIMIT 1 )",
                "SELECT 1 WHERE EXISTS ( SELECT 1 FROM <readable> )",
                "SELECT 1 UNION SELECT <called> ~ ( )",
                "DELETE x FROM <writable> AS x",
                "UPDATE <writable> AS x , t AS z SET x.a = 1 WHERE 1",
                "SELECT <called> ~ ( ) , <called> ~ ( ) FROM <readable>", "<clean>",
            ],
        }  # fmt: skip
