"""Which names are suspect in a schema, by what is behind them."""

from dataclasses import replace

import pytest

from pooldaemon.pool.drivers.mysql.sql.catalogue import Catalogue, Code, ask_all, find_suspects
from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY, Classifier
from pooldaemon.pool.drivers.mysql.sql.privileges import Rights
from pooldaemon.pool.drivers.mysql.sql.suspects import Suspects

ALL = Rights(
    schemas={"shop": frozenset({"ALL PRIVILEGES"}), "other": frozenset({"ALL PRIVILEGES"})}
)


def shop(  # a schema beside another one
    views: dict[str, str | None] | None = None,
    triggers: dict[str, str | None] | None = None,
    functions: dict[str, str | None] | None = None,
    rights: Rights = ALL,
    defaults: dict[str, str] | None = None,
    unread: tuple[str, ...] = (),
) -> Catalogue:
    def codes(bodies: dict[str, str | None] | dict[str, str] | None) -> list[Code]:
        return [
            Code(*(name.split(".") if "." in name else ("shop", name)), body)  # type: ignore[arg-type]
            for name, body in (bodies or {}).items()
        ]

    return Catalogue(
        "shop", rights, ["shop", "other"], list(unread), codes(views), codes(triggers),
        codes(functions), defaults=codes(defaults),
    )  # fmt: skip


def dirty(catalogue: Catalogue, *statements: str) -> list[str]:
    judge = Classifier(find_suspects(catalogue)).judge
    return [statement for statement in statements if judge(statement) == DIRTY]


def test_a_harmless_schema_has_no_suspects_and_its_functions_may_be_called() -> None:
    found = find_suspects(
        shop(
            views={"v": "select `shop`.`t`.`a` AS `a`,`shop`.`f`(1) AS `b` from `shop`.`t`"},
            triggers={"t": "INSERT INTO audit (a) VALUES (NEW.a)"},
            functions={"f": "RETURN g(1) + 1", "g": "BEGIN UPDATE audit SET a = 1; RETURN 2; END"},
        )
    )
    assert found.is_empty
    judge = Classifier(found).judge
    for call in ("f(1)", "F (1)", "`f`(%s)", "shop.f(1)", "`shop` . `g` ()", "f/**/(1)"):
        assert judge(f"SELECT a, {call} FROM v"), call
    for call in ("h(1)", "other.f(1)", "f.f(1)", "x.shop.f(1)", "ff(1)", "`f `(1)"):
        assert not judge(f"SELECT a, {call} FROM v"), call


NAMED = {
    "a view": "SELECT a FROM v",
    "in quotes": "SELECT `v`.a FROM `v`",
    "in other letters": "SELECT a FROM V",
    "with its schema": "SELECT a FROM shop.v",
    "a view over it": "SELECT a FROM over",
    "one over that": "SELECT a FROM over2",
    "in a subquery": "SELECT (SELECT a FROM v LIMIT 1)",
    "in a join": "SELECT t.a FROM t JOIN v ON t.a = v.a",
    "after a comment": "SELECT a FROM/**/v",
    "a function that reads it": "SELECT reads_it()",
    "a trigger that reads it": "INSERT INTO triggering (a) VALUES (1)",
    "a trigger that writes there": "UPDATE writing SET a = 1",
    "a view of such a table": "DELETE FROM of_triggering",
    "of another schema": "SELECT a FROM other.w",
    "of another schema in quotes": "SELECT `w`.a FROM `other`.`w`",
    "a table with a default": "INSERT INTO numbered (a) VALUES (1)",
}
NOT_NAMED = {
    "nothing of it": "SELECT a FROM t",
    "in a literal": "SELECT a FROM t WHERE a = 'v'",
    "a part of a name": "SELECT a FROM vv, v2, av",
    "reading the table of a trigger": "SELECT a FROM triggering",
    "reading a view of it": "SELECT a FROM of_triggering",
    "another schema's in one's own": "SELECT a FROM w",
    "a harmless view": "SELECT a FROM fine",
    "a table that is written without triggers": "INSERT INTO t (a) VALUES (1)",
}
SCHEMA = shop(
    views={
        "v": "select get_lock('a',0) AS `a`",
        "over": "select `shop`.`v`.`a` AS `a` from `shop`.`v`",
        "over2": "select `over`.`a` AS `a` from `shop`.`over`",
        "of_triggering": "select `shop`.`triggering`.`a` AS `a` from `shop`.`triggering`",
        "fine": "select `shop`.`t`.`a` AS `a` from `shop`.`t`",
        "other.w": "select last_insert_id() AS `a`",
    },
    triggers={
        "triggering": "BEGIN DECLARE x INT; SELECT MAX(a) INTO x FROM V; END",
        "writing": "INSERT INTO triggering (a) VALUES (NEW.a)",
    },
    functions={"reads_it": "RETURN (SELECT MAX(a) FROM `v`)"},
    defaults={"numbered": "nextval(`shop`.`s`)"},
)


@pytest.mark.parametrize("case", NAMED)
def test_a_statement_that_names_a_suspect_is_dirty(case: str) -> None:
    assert dirty(SCHEMA, NAMED[case])


@pytest.mark.parametrize("case", NOT_NAMED)
def test_a_statement_that_names_none_is_clean(case: str) -> None:
    assert not dirty(SCHEMA, NOT_NAMED[case])


def test_functions_that_call_each_other_are_what_the_worst_of_them_is() -> None:
    ring = {"f": "RETURN g(1)", "g": "RETURN h(1)", "h": "RETURN f(1)"}
    assert dirty(shop(functions=ring), "SELECT f(1)", "SELECT h(1)") == []
    ring["h"] = "BEGIN IF 0 THEN RETURN f(1); END IF; SET @x = 1; RETURN 1; END"
    assert len(dirty(shop(functions=ring), "SELECT f(1)", "SELECT g(1)", "SELECT h(1)")) == 3


def test_a_suspect_function_with_the_name_of_a_built_in_makes_the_word_suspect() -> None:
    for name in ("count", "COUNT", "cöunt"):
        suspect = shop(functions={name: "BEGIN SET @x = 1; RETURN 1; END"})
        assert dirty(suspect, "SELECT count (1)", "SELECT a FROM t") == ["SELECT count (1)"]
    harmless = shop(functions={"count": "RETURN 1"})
    assert not dirty(harmless, "SELECT count (1)")


def test_a_harmless_function_with_the_name_of_a_harmful_built_in_is_not_what_is_called() -> None:
    catalogue = shop(functions={"get_lock": "RETURN 1", "f": "RETURN get_lock('a', 1)"})
    assert len(dirty(catalogue, "SELECT GET_LOCK('a', 1)", "SELECT f(1)")) == 2
    assert not dirty(catalogue, "SELECT shop.get_lock('a', 1)")


@pytest.mark.parametrize("kind", ["views", "triggers", "functions"])
def test_what_the_account_may_not_see_is_suspect(kind: str) -> None:
    uses = {"views": "SELECT 1 FROM x", "triggers": "DELETE FROM x", "functions": "SELECT x(1)"}
    catalogue = shop(**{kind: {"x": None}})  # type: ignore[arg-type]
    assert dirty(catalogue, uses[kind], "SELECT a FROM t") == [uses[kind]]


def test_without_the_privilege_to_see_triggers_every_write_is_suspect() -> None:
    some = Rights.parse(["GRANT SELECT, INSERT ON `shop`.* TO `shop`@`%`"])
    catalogue = shop(rights=some)
    writes = ["INSERT INTO t (a) VALUES (1)", "DELETE FROM t", "SELECT a FROM t FOR UPDATE"]
    assert dirty(catalogue, *writes, "SELECT a FROM t") == writes
    assert catalogue.unseen() == {"TRIGGER"}


def test_a_schema_whose_triggers_are_not_shown_matters_to_writes_that_name_it() -> None:
    some = Rights.parse(
        ["GRANT ALL PRIVILEGES ON `shop`.* TO `a`@`%`", "GRANT INSERT ON `other`.* TO `a`@`%`"]
    )
    catalogue = shop(rights=some)
    assert dirty(catalogue, "INSERT INTO t (a) VALUES (1)", "SELECT a FROM other.t") == []
    assert dirty(catalogue, "INSERT INTO other.t (a) VALUES (1)")


def test_a_body_that_names_what_the_account_is_not_shown_is_suspect() -> None:
    for query in (
        "select `secret`.`v`.`a` AS `a` from `secret`.`v`",
        "select `x`.`a` AS `a` from `secret`.`v` `x`",
        "select `secret`.`f`(1) AS `a`",
    ):
        assert dirty(shop(views={"x": query}), "SELECT a FROM x"), query
    partly = replace(shop(views={"x": "select `t`.`a` AS `a` from `shop`.`t`"}), rights=Rights())
    assert dirty(partly, "SELECT a FROM x")


def test_a_schema_that_is_not_read_is_suspect_by_its_name() -> None:
    catalogue = shop(unread=("many",))
    assert dirty(catalogue, "SELECT a FROM many.t", "SELECT a FROM t") == ["SELECT a FROM many.t"]


def test_suspects_can_be_sent_to_other_processes() -> None:
    found = find_suspects(SCHEMA)
    assert Suspects.from_json(found.to_json()) == found


def test_it_is_asked_in_parts_where_there_are_many_tables() -> None:
    asked = []

    def ask(question: str) -> list[tuple[object, ...]]:
        asked.append(question)
        if question == "SHOW GRANTS":
            return [("GRANT ALL PRIVILEGES ON `shop`.* TO `shop`@`%`",)]
        if "schemata" in question:
            return [("information_schema",), ("shop",), ("sys",)]
        return [(5000,)] if "COUNT(*)" in question else []

    catalogue = ask_all("shop", mariadb=True, ask=ask)
    assert catalogue.is_big
    views = [question for question in asked if "information_schema.views" in question]
    assert len(views) == len({*views}) == 9
    assert find_suspects(catalogue).is_empty


def test_a_default_with_a_variable_acts_when_its_table_is_read() -> None:
    columns = [("counted", "(@n := 1)", None), ("numbered", "nextval(`shop`.`s`)", None)]

    def ask(question: str) -> list[tuple[object, ...]]:
        if question == "SHOW GRANTS":
            return [("GRANT ALL PRIVILEGES ON `shop`.* TO `shop`@`%`",)]
        if "information_schema.columns" in question:
            return list(columns)
        return [("shop",)] if "schemata" in question else [(2,)] if "COUNT(*)" in question else []

    catalogue = ask_all("shop", mariadb=True, ask=ask)
    reads = ("SELECT a FROM counted", "SELECT a FROM numbered")
    assert dirty(catalogue, *reads) == ["SELECT a FROM counted"]
    writes = ("INSERT INTO counted (b) VALUES (1)", "INSERT INTO numbered (b) VALUES (1)")
    assert dirty(catalogue, *writes) == [*writes]


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("a`b", "SELECT a FROM `a``b`"),
        ('a"b', 'SELECT a FROM "a""b"'),
        ('a"b', 'SELECT a FROM `a"b`'),
    ],
)
def test_a_view_with_a_quote_in_its_name_is_found(name: str, statement: str) -> None:
    catalogue = shop(views={name: "select @a AS `a`"})
    assert dirty(catalogue, statement, "SELECT a FROM t") == [statement]
