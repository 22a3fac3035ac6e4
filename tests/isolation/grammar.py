"""Statements of all sorts, most of them valid, many of them up to something."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.isolation.residues import STATE, TRANSACTIONS

PLAIN_BLANKS = (" ", "  ", "\n", "\t", "\r\n", "\x0b", "\x0c")
COMMENTS = ("/**/", " /* c */ ", " -- c\n", " #c\n", "/*!*/", "/*!50000 */", "/* ' */", "\xa0")

LITERALS = (
    "1", "0", "1.5", "1e3", ".5", "0x61", "x'61'", "b'1'", "NULL", "TRUE", "'x'", "'it''s'",
    "'a\\'b'", "'\\\\'", "'-- '", "'/*'", "'*/'", "';'", "'@leak'", "'get_lock('", '"y"',
    '"it\'s"', '"\\""', "'`'", "N'x'", "_utf8mb4'x'", "DATE '2020-01-01'", "{d '2020-01-01'}",
    "'%'", "'%%'", "'%s'", "INTERVAL 1 DAY + NOW()",
)  # fmt: skip

NAMES = (
    "a",
    "b",
    "`a`",
    "x.a",
    "`x`.`b`",
    "`get_lock`",
    "x.*",
    "*",
    "`a``b`",
    "$a",
    "ä",
    "@@sql_mode",
)

HARMLESS_CALLS = (
    "NOW()", "COUNT(*)", "CONCAT('a', 'b')", "ABS(-1)", "COALESCE(a, 1)", "IF(1, 2, 3)",
    "CAST(a AS CHAR)", "CONVERT('a' USING utf8mb4)", "EXTRACT(YEAR FROM NOW())",
    "JSON_OBJECT('a', 1)", "GROUP_CONCAT(a ORDER BY a SEPARATOR ';')", "RAND(5)", "UUID()",
    "ROW_NUMBER() OVER (ORDER BY 1)", "TRIM(LEADING 'a' FROM 'ab')", "SUBSTRING('abc', 2)",
    "VERSION()", "DATABASE()", "VALUES(a)", "CURRENT_TIMESTAMP", "RANDOM_BYTES(4)",
)  # fmt: skip

HARMFUL_CALLS = (
    "GET_LOCK('leak', 0)", "get_lock ('leak', 0)", "`GET_LOCK`('leak', 0)", "GET_LOCK\n('leak',0)",
    "GET_LOCK('leak2', 0)", "@leak := 1", "@leak:=@leak2", "@`leak` := 'x'", "LAST_INSERT_ID(42)",
    "(@leak := 1)", "{fn GET_LOCK('leak', 0)}", "GET_LOCK(CONCAT('le', 'ak'), 0)",
    "NEXTVAL(s)", "NEXT VALUE FOR s", "sys.version_major()", "RELEASE_LOCK('leak')",
)  # fmt: skip

TAILS = ("", "LIMIT 1", "LIMIT 1 OFFSET 1", "FOR UPDATE", "LOCK IN SHARE MODE", "INTO @leak",
         "LIMIT 1 INTO @leak", "INTO OUTFILE '/nowhere/leak'", "PROCEDURE ANALYSE()",
         "FOR UPDATE SKIP LOCKED", "INTO @`leak`", "ORDER BY 1",
         "GROUP BY 1 WITH ROLLUP")  # fmt: skip

OTHERS = tuple(
    residue.statements[0]
    for residue in (STATE | TRANSACTIONS).values()
    if "{name}" not in residue.statements[0]
)

WRAPPERS = (
    "{}", "({})", " {} ", "/*! {} */", "/*!50000 {} */", "/* c */ {}", "# c\n{}", "-- c\n{}", "{};",
    "SELECT 1; {}", "{}; SELECT 1", "EXPLAIN {}", "DO ({})", "{} -- c", "{} # c", "((({})))",
    "PREPARE leak FROM '{}'", "SELECT a FROM seventeen /*! UNION {} */", "{}\x00",
)  # fmt: skip


@st.composite
def spelled(draw: DrawFn, sql: str) -> str:
    """The same with other blanks and letters."""
    out = []
    blanks = PLAIN_BLANKS if draw(st.booleans()) else PLAIN_BLANKS + COMMENTS
    casing: Callable[[str], str] = draw(
        st.sampled_from([str, str, str.upper, str.lower, str.swapcase])
    )
    for part in sql.split(" "):
        out.append(part if "'" in part or '"' in part else casing(part))
        out.append(draw(st.sampled_from(blanks)) if draw(st.integers(0, 4)) == 0 else " ")
    return "".join(out)


def terms(*, harmful: bool) -> SearchStrategy[str]:
    pools = [LITERALS, NAMES, HARMLESS_CALLS] + ([HARMFUL_CALLS] if harmful else [])
    return st.one_of(*(st.sampled_from(pool) for pool in pools))


def compound(inner: SearchStrategy[str]) -> SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        inner.map(lambda e: f"({e})"),
        inner.map(lambda e: f"(SELECT {e})"),
        inner.map(lambda e: f"(SELECT {e} FROM seventeen AS x LIMIT 1)"),
        inner.map(lambda e: f"ABS({e})"),
        inner.map(lambda e: f"CASE WHEN {e} THEN 1 ELSE 2 END"),
        inner.map(lambda e: f"EXISTS (SELECT {e})"),
        inner.map(lambda e: f"NOT ({e})"),
        two.map(lambda e: f"CONCAT({e[0]}, {e[1]})"),
        two.map(lambda e: f"{e[0]} + {e[1]}"),
        two.map(lambda e: f"{e[0]} AND {e[1]}"),
        two.map(lambda e: f"{e[0]} LIKE {e[1]}"),
        two.map(lambda e: f"{e[0]} IN ({e[1]}, 2)"),
        two.map(lambda e: f"{e[0]} BETWEEN 1 AND {e[1]}"),
        two.map(lambda e: f"{e[0]} , {e[1]}"),
        two.map(lambda e: f"{e[0]} /* {e[1]} */"),
        two.map(lambda e: f"{e[0]} || {e[1]}"),
        two.map(lambda e: f"{e[0]} - - {e[1]}"),
        two.map(lambda e: f"{e[0]} AS `{e[1].replace('`', '')}`"),
    )


@st.composite
def selects(draw: DrawFn, expressions: SearchStrategy[str]) -> str:
    parts = ["SELECT", draw(st.sampled_from(["", "", "DISTINCT", "SQL_CALC_FOUND_ROWS", "ALL"]))]
    parts.append(draw(expressions))
    if draw(st.booleans()):
        parts.append("FROM")
        tables = ["seventeen AS x", "seventeen x", "(SELECT 1 AS a, 2 AS b) AS x"]
        parts.append(draw(st.sampled_from(tables)))
        if draw(st.booleans()):
            parts.append(f"WHERE {draw(expressions)}")
    parts.append(draw(st.sampled_from(TAILS)) if draw(st.booleans()) else "")
    return " ".join(part for part in parts if part)


@st.composite
def statements(draw: DrawFn, *, harmful: bool = True) -> str:
    expressions = st.recursive(terms(harmful=harmful), compound, max_leaves=4)
    kind = draw(st.integers(0, 12 if harmful else 10))
    query = draw(selects(expressions))
    e, f = draw(expressions), draw(expressions)
    sql = (
        query,
        f"{query} UNION {draw(selects(expressions))}",
        f"WITH x AS ({query}) SELECT * FROM x",
        f"WITH x (a) AS (SELECT 1), get_lock (b) AS ({query}) SELECT {e} FROM x, get_lock",
        f"WITH RECURSIVE x (a) AS (SELECT 1 UNION SELECT a + 1 FROM x WHERE a < 3) SELECT {e}",
        f"INSERT INTO fuzzed (a, b) VALUES ({e}, {f})",
        f"INSERT INTO fuzzed (a) {query}",
        f"INSERT IGNORE INTO `fuzzed` SET a = {e} ON DUPLICATE KEY UPDATE b = {f}",
        f"UPDATE fuzzed AS x SET x.a = {e} WHERE {f}",
        f"DELETE FROM fuzzed WHERE {e}",
        f"REPLACE INTO fuzzed (a, b) SELECT {e}, {f}",
        f"SET @leak = {e}",
        draw(st.sampled_from(OTHERS)),
    )[kind]
    sql = draw(spelled(sql))
    wrapped = draw(st.integers(0, 3)) == 0
    return draw(st.sampled_from(WRAPPERS)).replace("{}", sql) if wrapped else sql
