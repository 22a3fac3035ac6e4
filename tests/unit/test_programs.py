"""Which bodies of triggers, functions and views are harmless by their text."""

import pytest

from pooldaemon.pool.drivers.mysql.sql.programs import (
    effects_of_expression,
    effects_of_program,
    effects_of_query,
    fold,
)

HARMLESS = [
    "INSERT INTO audit (what, at) VALUES (CONCAT('t ', NEW.id), NOW())",
    "SET NEW.a = UPPER(NEW.a), new.b = 5",
    "SET NEW.a = CASE WHEN OLD.a = 1 THEN 'x' ELSE (SELECT MAX(a) FROM t) END, NEW.b = (1)",
    "RETURN a % 2",
    "RETURN (SELECT COUNT(*) FROM t WHERE a LIKE 'x%')",
    "IF NEW.a <> OLD.a THEN INSERT INTO shop.audit SET a = NEW.a; END IF",
    "begin if not (new.a <=> old.a) then insert into audit values (new.a); end if; end;",
    """BEGIN
        DECLARE done INT DEFAULT FALSE;          -- a comment
        DECLARE a, b VARCHAR(10) CHARACTER SET utf8mb4 DEFAULT 'x';
        DECLARE twice CONDITION FOR SQLSTATE '23000';
        DECLARE c CURSOR FOR SELECT id FROM t;
        DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = TRUE;
        DECLARE EXIT HANDLER FOR SQLSTATE VALUE '45000', 1062, twice BEGIN END;
        OPEN c;
        walk: LOOP
            FETCH c INTO a;
            IF done THEN LEAVE walk; ELSEIF (a = 1) THEN ITERATE walk; ELSE BEGIN END; END IF;
            UPDATE t SET x = x + 1 WHERE id = a;
        END LOOP walk;
        CLOSE c;
        CASE a WHEN 1 THEN SET b = CASE a WHEN 2 THEN 'x' ELSE 'y' END;
            ELSE SET b = 'it''s'; END CASE;
        CASE WHEN a = 1 THEN DELETE FROM t; END CASE;
        WHILE a < 5 DO SET a := a + 1; END WHILE;
        REPEAT SET a = a - 1; UNTIL a < 0 END REPEAT;
        SELECT MAX(id), 1 INTO a, b FROM t;
        IF a THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF;
        RETURN (SELECT 1);
    END""",
]

SUSPECT = [
    "",
    "RETURN shop.12()",
    "RETURN shop.1e5 (1)",
    "SET @a = 1",
    "SET a = 1",  # a variable of the session, as far as one can tell
    "SET sql_mode = ''",
    "SET NEW.a = 1, sql_mode = ''",
    "SET NEW.a = (1), @x = 2",
    "SET SESSION sql_mode = ''",
    "SET GLOBAL x = 1",
    "BEGIN BEGIN DECLARE sql_mode INT; END; SET sql_mode = ''; END",
    "BEGIN DO GET_LOCK('a', 1); END",
    "RETURN LAST_INSERT_ID(5)",
    "BEGIN CALL p(); END",
    "CALL p",
    "IF 1 THEN COMMIT; END IF",
    "IF 1 THEN SET NEW.a = 1; ELSE CALL p(); END IF",
    "CASE 1 WHEN 1 THEN CALL p(); END CASE",
    "CASE WHEN 1 THEN BEGIN SET @x = 1; END; END CASE",
    "WHILE 1 DO CALL p(); END WHILE",
    "REPEAT CALL p(); UNTIL 1 END REPEAT",
    "x: LOOP EXECUTE s; END LOOP",
    "SELECT 1 INTO @x",
    "SELECT 1 INTO OUTFILE 'x'",
    "EXECUTE s",
    "PREPARE s FROM 'SELECT 1'",
    "BEGIN CREATE TEMPORARY TABLE x (a INT); END",
    "BEGIN DROP TEMPORARY TABLE x; END",
    "SET NEW.a = NEXT VALUE FOR s",
    "SET NEW.a = s.nextval",
    "SET NEW.a = s.`currval`",
    "BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION CALL p(); END",
    "BEGIN DECLARE EXIT HANDLER FOR 1062 SET @x = 1; END",
    "INSERT INTO performance_schema.threads VALUES (1)",
    "INSERT INTO `performance_schema`.setup_actors VALUES (1)",
    "SELECT 1 INTO x FROM `sys`.x",
    "INSERT INTO t SELECT variable_value FROM information_schema.session_variables",
    "INSERT INTO mysql.t VALUES (1)",
    "RETURN package.x.f(1)",
    "SET NEW.a = 'x\\', @y = 'z'",
    "INSERT INTO t VALUES (1) /*!50000 , (@x := 1) */",
    "SET NEW.a\xa0= 1",
    "RETURN 1; SET @x = 1",
]


@pytest.mark.parametrize("body", HARMLESS, ids=lambda body: body[:40])
def test_a_program_of_plain_statements_is_harmless(body: str) -> None:
    assert effects_of_program(body) is not None
    assert effects_of_program(body.upper()) is not None


@pytest.mark.parametrize("body", SUSPECT, ids=repr)
def test_a_program_that_may_leave_something_is_suspect(body: str) -> None:
    assert effects_of_program(body) is None


def test_what_a_program_depends_on_is_found() -> None:
    effects = effects_of_program(
        "BEGIN INSERT INTO other.`T x` SELECT f(a), other.g(1), ABS(b.c) FROM v AS b; END"
    )
    assert effects is not None
    assert effects.calls == {("", "f"), ("other", "g")}
    assert {"v", "t x", "other", "b", "c"} <= effects.names
    assert {("other", "t x"), ("b", "c")} <= effects.qualified
    assert "b" in effects.alone
    assert "other" not in effects.alone
    assert effects.writes
    assert effects.calls_built_ins


@pytest.mark.parametrize(
    "query",
    [
        "select `a`.`t`.`id` AS `id`,ucase(`a`.`t`.`x`) AS `x` from `a`.`t` where `x` like 'x%'",
        "with x as (select 1 AS `a`)select `x`.`a` AS `a` from `x`",
        r"select 'it\'s' AS `a`, 'a\\b' AS `b`",
    ],
)
def test_a_query_as_servers_keep_it(query: str) -> None:
    # A backslash is read in both ways; with a quote behind it they differ.
    assert (effects_of_query(query) is None) is (r"\'" in query)


@pytest.mark.parametrize(
    "query", ["insert into t values (1)", "select 1 into @a", "select 1; select 2", "call p()", "1"]
)
def test_a_query_that_is_none_is_suspect(query: str) -> None:
    assert effects_of_query(query) is None


def test_defaults_of_columns() -> None:
    assert effects_of_expression("'a@b.c'") is not None
    assert effects_of_expression("(1 + 2)") is not None
    assert effects_of_expression("@a:=1") is None
    assert effects_of_expression("nextval(`shop`.`s`)") is None


def test_names_that_a_server_might_take_for_one_another_are_one() -> None:
    assert fold("FÜN") == fold("fün") == fold("fun\u0308n".replace("un\u0308n", "ùn"))
    assert fold("ab") != fold("ac")
