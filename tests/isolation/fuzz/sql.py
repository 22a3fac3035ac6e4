"""The grammar of the statements: plain ones, and such that are up to something.

They use the tables, functions and the sequence of :mod:`~tests.isolation.fuzz.schema`.
"""

from collections.abc import Sequence

from tests.isolation.fuzz.writer import Rules
from tests.isolation.residues import STATE, TRANSACTIONS
from tests.unit.test_classify import DIRTY


def each(*texts: str) -> list[tuple[str, ...]]:
    """Texts that are one token each, blanks or not."""
    return [(text,) for text in texts]


USUAL_LITERALS = each(
    "1", "0", "7", "1.5", "'x'", "'it''s'", "NULL", "TRUE", "''", "'a b'", "0x61", "'('"
)

LITERALS = each(
    "1", "0", "7", "1.5", "1e3", ".5", "5.", "1.e2", "0x61", "0X61", "x'61'", "X'4a'", "b'1'",
    "0b1",
    "NULL", "TRUE", "'x'", "'it''s'", "'a\\'b'", "'\\\\'", "'\\'", "'-- '", "'/*'", "'*/'", "';'",
    "'@leak'", "'get_lock('", '"y"', '"it\'s"', '"\\""', '"a""b"', "'`'", "N'x'", "n'x'",
    "_utf8mb4'x'", "_utf8mb4 'x'", "_latin1 x'61'", "_binary'x'", "DATE '2020-01-01'",
    "{d '2020-01-01'}", "{ts'2020-01-01 00:00:00'}", "TIMESTAMP'2020-01-01 00:00:00'",
    "'%'", "'%%'", "'%s'", "\\N", "''", '""', "'a' 'b'", "'\n'", "'\t'", "_gbk'\\'", "0x",
    "'\\\n'", "' \\'' '", "'ä'", "'\u8868'", "'\u529f'", "'\xa5'", "'\u0416'", "'\u20ac'",
    "18446744073709551615", "-1", "1e400", "$1", "1_000", "0b2", "1a", "'a", "`a", "q'(x)'", "E'x'",
    "$$x$$", "$a$x$a$", "'{\"a\": 1}'", "'2020-01-01'", "'a;b'", "U&'x'", "%s",
)  # fmt: skip

NAMES = each(
    "x . b", '"a"', "x.`a`", "*", "x.*",
    "`get_lock`", "get_lock", "`a``b`", "`a'b`", '"a\'b"', "$a", "ä", "`ä`", "@@sql_mode", "a$",
    "`\u8868`", "\u8868", "nextval", "`@leak`", "last_insert_id", "`*/`", "`/*`", "`--`", "user",
    "current_user", "sql_calc_found_rows", "x.1a", "x.1e5", "value", "`;`", "`%`",
)  # fmt: skip

HARMLESS_CALLS = [
    "NOW ~ ( )", "COUNT ~ ( * )", "CONCAT ~ ( <expr> , <expr> )", "ABS ~ ( <expr> )",
    "COALESCE ~ ( <expr> , <expr> )", "IF ~ ( <expr> , <expr> , <expr> )",
    "CAST ~ ( <expr> AS <type> )", "CONVERT ~ ( <expr> USING <charset> )",
    "EXTRACT ~ ( YEAR FROM NOW() )", "JSON_OBJECT ~ ( 'a' , <expr> )", "CHAR ~ ( 39 , 92 )",
    "GROUP_CONCAT ~ ( <expr> ORDER BY <name> SEPARATOR ';' )", "RAND ~ ( 5 )", "UUID ~ ( )",
    "ROW_NUMBER ~ ( ) OVER ( ORDER BY <name> )", "TRIM ~ ( LEADING 'a' FROM <expr> )",
    "SUM ~ ( <expr> ) OVER ( PARTITION BY <name> )", "SUBSTRING ~ ( <expr> , 2 )", "VERSION ~ ( )",
    "DATABASE ~ ( )", "VALUES ~ ( a )", "CURRENT_TIMESTAMP", "RANDOM_BYTES ~ ( 4 )",
    "LOWER ~ ( <expr> )",
    "JSON_EXTRACT ~ ( '{\"a\":1}' , '$.a' )", "MD5 ~ ( <expr> )",
    "DATE_ADD ~ ( NOW() , INTERVAL 1 DAY )",
    "MAX ~ ( <expr> )", "LAG ~ ( <expr> ) OVER ( ORDER BY <name> )",
    "REPLACE ~ ( <expr> , 'a' , 'b' )",
    "INSERT ~ ( <expr> , 1 , 1 , 'b' )", "LEFT ~ ( <expr> , 1 )", "GREATEST ~ ( <expr> , <expr> )",
    "fine ~ ( <expr> )", "`fine` ~ ( <expr> )", "fine ~ ( fine ~ ( 1 ) )", "QUOTE ~ ( <expr> )",
    "REGEXP_REPLACE ~ ( <expr> , 'a' , 'b' )", "CONNECTION_ID ~ ( )", "HEX ~ ( <expr> )",
    "MATCH ~ ( b ) AGAINST ~ ( 'x' )", "INTERVAL ~ ( 1 , 2 , 3 )", "ROW ~ ( 1 , 2 ) = ( 1 , 2 )",
    "POSITION ~ ( 'a' IN <expr> )", "ANY_VALUE ~ ( <expr> )",
    "FORMAT ~ ( 1 , 2 )", "CHAR ~ ( 1 USING utf8mb4 )", "STR_TO_DATE ~ ( <expr> , '%Y' )",
    "DATE_FORMAT ~ ( NOW() , '%Y-%m' )", "FIRST_VALUE ~ ( <expr> ) OVER w", "USER ~ ( )",
]  # fmt: skip

LOCKS = "('leak', 0)"

# Each leaves something where it is evaluated, if the server takes it so.
HARMFUL_CALLS = [
    f"GET_LOCK ~ {LOCKS}", f"get_lock ~ {LOCKS}", f"`GET_LOCK` ~ {LOCKS}", f'"get_lock" ~ {LOCKS}',
    f"GET_LOCK /*!*/ {LOCKS}", f"GET_LOCK /**/ {LOCKS}", f"GET_LOCK /*! {LOCKS} */",
    f"GET_LOCK %s {LOCKS}",
    f"/*! GET_LOCK {LOCKS} */", f"/*M! GET_LOCK {LOCKS} */", f"/*!50000 GET_LOCK */ {LOCKS}",
    f"/*!50000 /*!40000 GET_LOCK {LOCKS} */ */", f"/*! /* c */ GET_LOCK {LOCKS} */",
    f"/*!999999 c */ GET_LOCK {LOCKS}", f"/*!99999 '*/ , GET_LOCK {LOCKS} , ' ' ",
    f"`get_lock` {LOCKS}", f"{{fn GET_LOCK{LOCKS}}}", f"GET_LOCK\n{LOCKS}", f"get_lock\xa0{LOCKS}",
    f"GET_LOCK\u3000{LOCKS}", f"GET_LOCK--\n{LOCKS}", f"GET_LOCK#'\n{LOCKS}", f"- -GET_LOCK{LOCKS}",
    f"--GET_LOCK{LOCKS}", f"'\\', GET_LOCK{LOCKS}, '", f"'\\'' , GET_LOCK{LOCKS} , '\\''",
    f"\"\\\" , GET_LOCK{LOCKS} , \"", f"'a'' , GET_LOCK{LOCKS} , '",
    f"'/*' , GET_LOCK{LOCKS} , '*/'",
    f"\"'\" , GET_LOCK{LOCKS} , \"'\"", f"`'` , GET_LOCK{LOCKS} , `'`",
    f"'`' , GET_LOCK{LOCKS} , '`'",
    f"'\u8868' , GET_LOCK{LOCKS} , ' '", f"'\u529f' , GET_LOCK{LOCKS} , ' '",
    f"_sjis'\u8868' , GET_LOCK{LOCKS} , ' '",
    f"'\xa5' , GET_LOCK{LOCKS} , ' '", f"_gbk 0xbf27 , GET_LOCK{LOCKS}",
    f"N'\\' , GET_LOCK{LOCKS} , '",
    f"1 -- \n , GET_LOCK{LOCKS}", f"1 --\xa0\n , GET_LOCK{LOCKS}", f"1 # c\r , GET_LOCK{LOCKS}",
    f"1 /* \xa5*/ , GET_LOCK{LOCKS}", f"$$ ' $$ , GET_LOCK{LOCKS} , ' '",
    f"$a$ ' $a$ , GET_LOCK{LOCKS} , ' '",
    f"1 -- c\r , GET_LOCK{LOCKS}", f"1 # \\\n , GET_LOCK{LOCKS}", f"1 --\x01 , GET_LOCK{LOCKS}",
    f"1 /*/ , GET_LOCK{LOCKS} /*/ */", f"1 /*+ c */ , GET_LOCK{LOCKS}",
    f"'a\x00' , GET_LOCK{LOCKS} , ' '",
    "GET_LOCK ~ ( CONCAT('le','ak') , 0 )", "RELEASE_ALL_LOCKS ~ ( )", "RELEASE_LOCK ~ ( 'leak' )",
    "@leak := 1", "( @leak := <expr> )", "@leak:=@leak2", "@`leak` := 'x'", '@"leak" := 1',
    "@'leak' := 1",
    "@ leak := 1", "@/**/leak := 1", "@leak /**/ := 1", "/*!@leak:=1*/", "@@session.last_insert_id",
    "@@identity", "@@last_insert_id", "@@local.identity", "@@`identity`", "@@warning_count",
    "LAST_INSERT_ID ~ ( 42 )", "LAST_INSERT_ID ~ ( )", "`last_insert_id` ~ ( )",
    "last_insert_id/*!*/()",
    "LAST_INSERT_ID\n()", "LAST_INSERT_ID ~ ( <expr> )", "/*!last_insert_id*/ ( )",
    "last_insert_id %s ( )",
    "FOUND_ROWS ~ ( )", "ROW_COUNT ~ ( )", "`found_rows` ( )", "`row_count` ( )",
    "NEXTVAL ~ ( s )", "NEXT VALUE FOR s", "NEXT /**/ VALUE FOR s", "nextval ( `s` )", "s.nextval",
    "`s`.nextval", "s.`nextval`", 's."NEXTVAL"', "s . nextval", "s /**/ . nextval", "s.currval",
    "LASTVAL ~ ( s )", "SETVAL ~ ( s , 9 )", "PREVIOUS VALUE FOR s", "`nextval` ~ ( s )",
    "`next` value for s",
    "DEFAULT ~ ( x.a )", "sys.version_major ~ ( )", "sys.ps_thread_id ~ ( NULL )",
    "BENCHMARK ~ ( 2 , @leak := 1 )", "NAME_CONST ~ ( 'a' , 1 )", "LOAD_FILE ~ ( '/etc/hosts' )",
    "leave_it ~ ( )", "leave_it ( )", "`leave_it` ~ ( )", '"leave_it" ~ ( )', "leave_it/**/()",
    "leave_it %s ( )", "leave_it", "<schema>.leave_it ~ ( )", "`<schema>`.`leave_it` ( )",
    "<schema> . leave_it ~ ( )", "<schema>./**/leave_it()", "<schema>.`leave it` ~ ( )",
    "`leave it`()",
    "`leave``it` ~ ( )", "<schema>.`leave``it` ( )", "`leave.it` ( )", "<schema>.`abs` ~ ( )",
    "`abs`()",
    "abs /**/ ()", "abs ()", "count ()", "<schema>.count ~ ( )", "<schema>.now()", "`now` ( )",
    "in ( )",
    "<schema>.`12`()", "`12`()", "<schema>.12()", "<schema>.1e5()", "<schema>.0x1()",
    "<schema>.1a()",
    "<schema>.`1e5` ( )", "`1e5`()", "1e5()", "<schema>.fine(leave_it())", "fine(leave_it())",
    "<schema>.leäve()", "leäve()", "`leäve` ( )", "<schema>.`leäve`()", "$leave()",
    "<schema>.$leave()", "fine\xa0()",
    "`$leave`()", "pkg.leave_it ~ ( )", "pkg.leave_it", "<schema>.pkg.leave_it()",
    "`pkg`.`leave_it` ( )",
    "<schema>.leave_it", ".leave_it()", "<schema>.\xa0leave_it()", "x.leave_it()",
    "fine.leave_it()",
    "EXTRACTVALUE ~ ( '<a/>' , '$@leak' )", "UNCOMPRESS(1)", "JSON_VALUE('{}', '$.a' )",
    "x.a := 1", "GET_LOCK(%s, 0)", "IS_USED_LOCK('leak')", "PS_CURRENT_THREAD_ID()",
]  # fmt: skip

# Where a literal, a name or a comment begins or ends for one reader and not for another.
OPENING = each(
    "'\\''", "'\\'", "'\\", '"\\""', '"\\"', "'a'", "'''", "''''", "''", "'", '"', "`", '"\'"',
    "'\"'",
    "'`'", "`'`", '"`"', "`\"`", "/*", "/*!", "/*/", "/**/", "/*'*/", "/*!'*/", "/*!99999 '*/",
    "/*M!'*/",
    "/*+ ' */", "-- '\n", "#'\n", "--'\n", "--\xa0'\n", "-- \\\n", "#\r'", "'\xa5''", "'\xa5'",
    '"\xa5""',
    "'\u8868''", "'\u8868'", "'\u529f''", "'\u529f'", "'\uff3c''", "'\u203e'", "`\xa5``",
    "_gbk'\xbf''",
    "N'\\''", "x'", "_sjis'\u8868''", "_binary'\\''", "'\0'", "'\x1a'", "$$", "$a$", "'%", "'%'",
    "'%s'",
    "{", "[", "`\\`", "`\\``", "q'['", "'\\\\''", "'\\\\'", "'\\%''", "'\n'", "--", "- -'",
    "/*!0'*/",
    "/*!00000 '*/", "/*!50000'*/", "/*! /* */ '*/", "/* /* */ '*/", "'*/'", "'/*'", "#", "'--'",
    "\\'",
)  # fmt: skip
CLOSING = each(
    "", "'", "''", "'''", '"', "`", "*/", "-- '", "# '", '-- "', "-- `", "/* ' */", "/*'", "'\\''",
    "'\\'",
    '"\\"', ", '", ", ''", ', "', "*/ '", "'*/'", "/*'*/", "/*!'*/", "-- */", "\n'", "\n", "$$",
    "$a$", "}",
    "\\'", "'/*", "]", "' '", "/*!99999 ' */", "'\xa5''", "'\u8868'", ", `", "/*\"*/", "#\n'",
    "'%s'", "' -- ",
)  # fmt: skip

TAILS: Sequence[str] = (
    "", "", "", "LIMIT 1", "LIMIT 1 OFFSET 1", "LIMIT 0", "FOR UPDATE", "LOCK IN SHARE MODE",
    "FOR UPDATE SKIP LOCKED", "FOR SHARE", "ORDER BY <name>", "ORDER BY 1 DESC LIMIT 3",
    "GROUP BY <name> HAVING <name>", "WINDOW w AS ( ORDER BY <name> )",
    "FOR UPDATE OF x NOWAIT",
)  # fmt: skip

HARMFUL_TAILS: Sequence[str] = (
    "INTO @leak", "LIMIT 1 INTO @leak", "INTO @leak FOR UPDATE", "FOR UPDATE INTO @leak",
    "INTO OUTFILE '/nowhere/leak'", "INTO DUMPFILE '/nowhere/leak'", "PROCEDURE ANALYSE()",
    "INTO @`leak`",
    "INTO /*!*/ @leak", "INTO leak", "INTO `leak`", "/*! INTO @leak */", "INTO @leak , @leak2",
    "INTO\xa0@leak", "; SET @leak = 1", ";; SET @leak = 1", "; DO GET_LOCK('leak', 0)",
    "\x00; SET @leak = 1",
    "; PREPARE leak FROM 'SELECT 1'", "-- c\r; SET @leak = 1",
    "; CREATE TEMPORARY TABLE leak_temporary (a INT)",
)  # fmt: skip

DISTURBING = each(
    "INTO", "PROCEDURE", "SQL_CALC_FOUND_ROWS", "SET", "CALL", "SELECT", "GET_LOCK", "(", ")", "'",
    '"', "`", "\\", ",", "@", "leak", ":=", "/*", "*/", "/*!", "--", "#", "\n", ";", "%s", "%%",
    "{",
    "}", "fn", "UNION", "=", ".", "x'", "N'", "_utf8mb4'", "DO", "VALUES", "TABLE", "WITH",
    "HANDLER",
    "LOCK", "INTO @leak", "FOR UPDATE", "AS", "FROM", "WHERE", "NEXT", "VALUE", "FOR", "RETURNING",
    "('leak',0)", "*", "-", "/", "!", "~~", "|", "||", "&&", "->", "->>", "<=>", "END", "ON", "s",
)  # fmt: skip

# Of the server, and views over it.
SYSTEM_TABLES = [
    "information_schema . tables AS x", "information_schema.session_status AS x",
    "`information_schema` . `columns` AS x", "information_schema.processlist AS x",
    "information_schema.session_variables AS x", "INFORMATION_SCHEMA.global_variables AS x",
    "performance_schema.session_status AS x", "performance_schema.session_variables AS x",
    "performance_schema.global_status AS x", "performance_schema.threads AS x", "mysql.user AS x",
    "sys.version AS x", "sys.session AS x", "`sys`.`version` AS x",
    "sys.schema_object_overview AS x",
    "performance_schema.user_variables_by_thread AS x", "information_schema.user_variables AS x",
    "information_schema.profiling AS x", "performance_schema.prepared_statements_instances AS x",
    "information_schema.schemata AS x", "mysql.proc AS x", "information_schema.`routines` AS x",
    "information_schema.system_variables AS x", "performance_schema.events_statements_current AS x",
]  # fmt: skip

PARTS: Rules = {
    "<literal>": ["<usual_literal>"] * 8 + ["<odd_literal>"],
    "<usual_literal>": USUAL_LITERALS,
    "<odd_literal>": LITERALS,
    "<name>": ["<usual_name>"] * 12 + ["<odd_name>"],
    "<usual_name>": ["a", "a", "a", "a", "b", "b", "`a`", "`b`", "x.a", "`x`.`b`"],
    "<odd_name>": NAMES,
    "<call>": HARMLESS_CALLS,
    "<bad>": HARMFUL_CALLS,
    "<type>": each("CHAR", "SIGNED", "DECIMAL(9, 2)", "BINARY", "CHAR CHARACTER SET utf8mb4",
                   "DATETIME(6)", "UNSIGNED", "CHAR(5)", "JSON", "TIME"),
    "<charset>": each("utf8mb4", "latin1", "binary", "gbk", "`utf8mb4`"),
    "<operator>": ["+", "-", "*", "/", "DIV", "MOD", "%", "AND", "OR", "XOR", "&&", "||", "|",
        "&", "^", "<<",
                   ">>", "=", "<=>", "<>", "!=", "<", ">=", "LIKE", "RLIKE", "REGEXP", "- -",
                   "- ~", "NOT LIKE"],
    "<odd_operator>": ["<operator>", "IS NOT", "SOUNDS LIKE", "COLLATE", "->", "->>", "MEMBER OF",
        ":=", "IS"],
    "<term>": ["<literal>", "<literal>", "<name>", "<name>", "<name>", "<call>"],
    "<expr>": [
        *["<term>"] * 12, "( <expr> )", "( SELECT <expr> )",
        "( SELECT <expr> FROM <usual_table> LIMIT 1 )",
        *["<term> <operator> <term>"] * 4, "( <expr> ) <operator> ( <expr> )",
        "( <expr> <odd_operator> <expr> )",
        "CASE WHEN <expr> THEN <expr> ELSE <expr> END", "CASE <term> WHEN <expr> THEN <expr> END",
        "EXISTS ( SELECT <expr> )", "NOT ( <expr> )", "! <term>", "- <term>", "<term> IS NULL",
        "EXISTS ( <query> )",
        "<term> IN ( <expr> , <expr> )", "<term> IN ( SELECT <expr> FROM <usual_table> )",
        "<term> BETWEEN <term> AND <term>", "<term> NOT LIKE <term> ESCAPE '/'", "BINARY <term>",
        "<term> > ALL ( SELECT <expr> )", "INTERVAL <term> DAY + NOW()", "<term> || <term>",
    ],
    "<items>": [*["<expr>"] * 6, "<expr> AS <alias>", "<expr> , <expr>", "<expr> <alias>",
        "<expr> AS <alias> , <expr>"],
    "<alias>": each("y", "`y z`", "'y'", '"y"', "get_lock", "`get_lock`", "`a``b`", "ä", "`@leak`",
                    "count", "`';'`", "leave_it", "`leave_it`", '"leave_it"', "s", "`%`", "end"),
    # MariaDB 10.11 may crash of a subquery in an ORDER BY behind parentheses.
    "<short_tail>": ["", "", "LIMIT 3", "ORDER BY 1", "ORDER BY 1 DESC LIMIT 1", "FOR UPDATE"],
    "<tail>": ["", "", "", "LIMIT 3", "ORDER BY 1", *TAILS],
    "<option>": [*[""] * 10, "DISTINCT", "ALL", "SQL_NO_CACHE", "HIGH_PRIORITY", "STRAIGHT_JOIN",
                 "SQL_SMALL_RESULT", "SQL_BUFFER_RESULT", "DISTINCTROW"],
    "<usual_table>": ["words AS x", "words AS x", "t AS x", "`t` AS `x`", "<schema>.t AS x"],
    "<table>": [
        "words x", "`words` AS `x`",
        "( SELECT 1 AS a , 2 AS b ) AS x", "<schema>.words AS x", "`<schema>` . `words` x",
        "words AS x JOIN t ON t.a = x.a", "words AS x LEFT JOIN t USING ( a )",
        "t AS x , words AS z", "words AS x NATURAL JOIN t", "( t AS x )", "dual",
        "LATERAL ( SELECT 1 AS a ) AS x", "words AS x CROSS JOIN ( t )",
        "words AS x FORCE INDEX ( a )",
        "JSON_TABLE ~ ( '[1,2]' , '$[*]' COLUMNS ~ ( a INT PATH '$' ) ) AS x", "numbers AS x",
        "words PARTITION ( p0 ) AS x", "s AS x", "t FOR SYSTEM_TIME ALL AS x", "<system>",
        "( VALUES ( 1 , 2 ) ) AS x", "( TABLE t ) AS x", "{ OJ t AS x LEFT JOIN words ON 1 }",
    ],
    "<system>": SYSTEM_TABLES,
    "<where>": ["", "", "WHERE <expr>", "WHERE <expr> AND <expr>", "WHERE x.a < 3",
        "WHERE x.a = <expr>"],
    "<from>": ["", *["FROM <usual_table> <where>"] * 8, "FROM <table> <where>", "FROM <table>"],
    "<bare>": ["SELECT <option> <items> <from>"],
    "<select>": ["<bare> <tail>"],
    "<query>": [
        "<select>", "<select>", "<select>", "<select>", "<select>", "( <select> ) <short_tail>",
        "<bare> UNION <select>", "( <select> ) UNION ALL ( <select> ) <short_tail>",
        "<bare> EXCEPT <bare>", "<bare> INTERSECT <bare>",
        "WITH x AS ( <select> ) SELECT * FROM x", "WITH x ( a ) AS ( SELECT 1 ) <select>",
        "WITH x ( a ) AS ( SELECT 1 ) , get_lock ( b ) AS ( <select> ) SELECT <expr> FROM get_lock",
        "WITH RECURSIVE x ( a ) AS ( SELECT 1 UNION SELECT a + 1 FROM x WHERE a < 3 ) <select>",
        "WITH `leave_it` ( a ) AS ( <select> ) SELECT <expr> FROM leave_it AS x",
    ],
    "<values>": ["( <expr> , <expr> )", "( <expr> , <expr> ) , ( <literal> , <literal> )"],
    "<set>": ["a = <expr>", "b = <expr>", "a = <expr> , b = <expr>"],
    "<returning>": ["", "", "", "", "RETURNING <expr>"],
    "<ignore>": ["", "", "IGNORE", "LOW_PRIORITY", "QUICK", "DELAYED"],
    "<write>": [
        "INSERT INTO fuzzed ( a , b ) VALUES <values>",
        "INSERT <ignore> INTO fuzzed ( a , b ) VALUES <values>",
        "INSERT INTO fuzzed ( a ) <query>",
        "INSERT <ignore> INTO `fuzzed` SET <set> ON DUPLICATE KEY UPDATE <set>",
        "INSERT INTO numbers ( a ) VALUES ( <expr> ) <returning>",
        "INSERT INTO <schema>.fuzzed VALUES <values>",
        "INSERT fuzzed ( a ) VALUES ( <expr> )",
        "INSERT INTO fuzzed ( a , b ) VALUES <values> AS y ( c , d ) ON DUPLICATE KEY UPDATE a = c",
        "UPDATE fuzzed AS x SET x.a = <expr> <where>",
        "UPDATE <ignore> fuzzed AS x , words AS z SET x.b = <expr> <where>",
        "UPDATE fuzzed AS x SET <set> ORDER BY <name> LIMIT 1",
        "WITH y AS ( <select> ) UPDATE fuzzed AS x SET <set>",
        "DELETE FROM fuzzed WHERE <expr> <returning>",
        "DELETE x FROM fuzzed AS x JOIN words AS z ON <expr>",
        "DELETE <ignore> FROM fuzzed ORDER BY <name> LIMIT 1",
        "DELETE FROM x USING fuzzed AS x WHERE <expr>",
        "REPLACE INTO fuzzed ( a , b ) SELECT <expr> , <expr>",
        "REPLACE INTO numbers ( a ) VALUES ( <expr> )",
        "REPLACE fuzzed SET <set>", "INSERT INTO fuzzed ( a ) VALUES ( DEFAULT )",
        "INSERT INTO numbers ( ) VALUES ( )",
    ],
    "<savepoint>": ["SAVEPOINT `s1`", "ROLLBACK TO SAVEPOINT `s1`", "RELEASE SAVEPOINT `s1`",
                    "SAVEPOINT s1", "SAVEPOINT `s 1`", "ROLLBACK TO `s1`",
                    "SAVEPOINT `s1` AND CHAIN"],
    "<clean>": ["<query>"] * 7 + ["<write>"] * 4 + ["<savepoint>"],
    "<opening>": OPENING,
    "<closing>": CLOSING,
    "<caught>": [", GET_LOCK(7,0)", ", GET_LOCK(7,0) ,", "+ GET_LOCK(7,0)", ", @leak:=1",
        "; SET @leak=1 ;",
                 "INTO @leak", ", NEXTVAL(s)", "UNION SELECT GET_LOCK(7,0)", "GET_LOCK(7,0)",
                 "/*! ,GET_LOCK(7,0) */"],
    "<confusion>": [
        "<opening> <caught> <closing>"] * 3 + ["<opening> <closing> <caught> <closing>"],
    "<foreign>": ["<bad>", "<bad>", "<confusion>", "<confusion>", "<disturbing>", "<literal>",
        "<term>", "<tail>"],
    "<disturbing>": DISTURBING,
}  # fmt: skip

# One thing that is up to something, in a statement that is plain otherwise.
HIDING: Rules = PARTS | {
    "<one>": ["<bad>", "<confusion>"],
    "<harmful_tail>": HARMFUL_TAILS,
    "<hiding>": [
        *["SELECT <one>", "SELECT a , <one> FROM t", "SELECT <one> FROM words LIMIT 1"] * 2,
        "SELECT a FROM t WHERE b = <one>", "SELECT a FROM t ORDER BY <one>", "( SELECT <one> )",
        "INSERT INTO fuzzed ( a , b ) VALUES ( 1 , <one> )",
        "INSERT INTO fuzzed ( a ) SELECT <one>",
        "UPDATE fuzzed SET a = <one>", "DELETE FROM fuzzed WHERE <one>",
        "REPLACE INTO fuzzed SET a = <one>",
        "SELECT IF ~ ( 1 , <one> , 2 )", "WITH x ( a ) AS ( SELECT <one> ) SELECT a FROM x",
        "SELECT 1 UNION SELECT <one>",
        "INSERT INTO fuzzed VALUES ( 1 , 2 ) ON DUPLICATE KEY UPDATE a = <one>",
        "SELECT fine ~ ( <one> )",
        "DELETE FROM fuzzed WHERE a = 1 RETURNING <one>", "SELECT CASE WHEN <one> THEN 1 END",
        "SELECT 'a' <one>",
        "SELECT 1 <harmful_tail>", "SELECT a FROM t <harmful_tail>", "SELECT <disturbing> <one>",
        "SELECT * FROM <system>",
        "SELECT SQL_CALC_FOUND_ROWS a FROM t", "SELECT <one> <disturbing>", "<confusion>",
        "SELECT 1 <confusion>",
        "INSERT INTO fuzzed VALUES <confusion>", "UPDATE fuzzed SET a = 'x' <confusion>",
        "WITH <confusion>",
        "SELECT <literal> <confusion>", "SELECT <literal> , <one>", "SELECT a AS <alias> , <one>",
        "SELECT <name> , <one> FROM t AS x",
    ],
}  # fmt: skip

# What is up to several things at once.
LEAKING: Rules = PARTS | {
    "<term>": [*PARTS["<term>"] * 3, *["<bad>"] * 4, *["<confusion>"] * 2],
    "<tail>": [*["<harmless_tail>"] * 30, *HARMFUL_TAILS],
    "<harmless_tail>": PARTS["<tail>"],
    "<option>": [*PARTS["<option>"], "SQL_CALC_FOUND_ROWS", "/*!SQL_CALC_FOUND_ROWS*/",
                 "/*+ SET_VAR(sql_select_limit=1) */", "/*! @leak := 1 , */", "INTO @leak"],
    "<clean>": [*PARTS["<clean>"], "SET @leak = <expr>", "DO <expr>", "VALUES ( <expr> )",
        "TABLE t INTO @leak"],
}  # fmt: skip


def rules(of: Rules, schema: str) -> Rules:
    """*of*, for the schema of this name."""

    def named(text: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(text, str):
            return text.replace("<schema>", schema)
        return tuple(token.replace("<schema>", schema) for token in text)

    return {symbol: [named(text) for text in texts] for symbol, texts in of.items()}


WRAPPERS = (
    "{}", "({})", "/*! {} */", "/*!50000 {} */", "/*M! {} */", "/* c */ {}", "# c\n{}", "-- c\n{}",
    "{};",
    "SELECT 1; {}", "{}; SELECT 1", "EXPLAIN {}", "DO ({})", "{} -- c", "{} # c", "((({})))",
    "{}\x00",
    "PREPARE leak FROM '{}'", "SELECT a FROM words /*! UNION {} */", "SELECT 1 /*!; {} */",
    "{} /* c",
    "SELECT 1 -- \r; {}", "SELECT 1 /*/;{}/*/", "SELECT '\\'; {} -- '", "SELECT \"\\\"; {} -- \"",
    "SELECT 1 UNION ({})", "SELECT ({})", "SELECT '*/', ({}) /* ' */", "BEGIN NOT ATOMIC {}; END",
    "WITH x AS ({}) SELECT * FROM x", "INSERT INTO fuzzed (a) {}",
    "SELECT a FROM words WHERE a = ({})",
    "SELECT `'`; {} -- `", "SELECT '\u8868'; {} -- '", "SELECT '\xa5'; {} -- '",
    "SELECT 1 # \\\n; {}",
    "ANALYZE {}", "SET STATEMENT sql_select_limit = 1 FOR {}", "DELIMITER x\n{}", "{}\\G",
    "SELECT 1\x00; {}",
)  # fmt: skip

KNOWN: tuple[str, ...] = (
    *(
        residue.statements[0]
        for residue in (STATE | TRANSACTIONS).values()
        if "{name}" not in residue.statements[0]
    ),
    *(statement for statement in DIRTY if isinstance(statement, str)),
    "SHOW WARNINGS", "SHOW ERRORS", "SHOW COUNT(*) WARNINGS", "SHOW COUNT(*) ERRORS",
    "GET DIAGNOSTICS @leak = NUMBER",
    "SHOW VARIABLES LIKE 'last_insert_id'", "HANDLER t OPEN AS leak", "HANDLER leak READ FIRST",
    "CALL leaves()",
    "CALL leaves", "LOAD DATA INFILE '/etc/hosts' INTO TABLE fuzzed", "TABLE t", "VALUES ROW(1, 2)",
    "VALUES (1, NEXTVAL(s))", "EXECUTE IMMEDIATE 'SET @leak = 1'", "SIGNAL SQLSTATE '01000'",
    "KILL QUERY 1",
    "SELECT 1 AS a INTO @leak FROM t LIMIT 1", "SELECT a INTO @leak FROM words LIMIT 1",
    "INSERT INTO fuzzed (a) SELECT a INTO @leak FROM words", "SELECT (SELECT 1 INTO @leak)",
    "SELECT * FROM (SELECT GET_LOCK('leak', 0) AS a) AS x",
    "WITH x AS (SELECT @leak := 1) SELECT * FROM x",
    "UPDATE fuzzed SET a = 1 RETURNING @leak := 1",
    "INSERT INTO fuzzed VALUES (1, 2) RETURNING GET_LOCK('leak', 0)",
    "SELECT JSON_TABLE(GET_LOCK('leak', 0), '$' COLUMNS (a INT PATH '$'))", "SELECT 1 LIMIT @leak",
    "DELETE FROM fuzzed WHERE a = LAST_INSERT_ID(a)", "SELECT * FROM t PROCEDURE analyse(1, 2)",
    "HELP 'x'",
    "LOCK TABLES t READ", "UNLOCK TABLES", "FLUSH TABLES t WITH READ LOCK", "XA START 'leak'",
    "BINLOG 'x'",
    "CREATE TEMPORARY TABLE leak_temporary SELECT 1", "ROLLBACK", "COMMIT", "BEGIN WORK",
    "SHOW PROFILES",
    "SELECT * FROM s", "INSERT INTO s VALUES (1)", "SELECT s.nextval FROM dual",
    "RENAME TABLE t TO u", "SHOW STATUS",
    "DEALLOCATE PREPARE leak", "SELECT * FROM t WHERE a IS NULL AND @@identity",
    "GRANT SELECT ON t TO x",
)  # fmt: skip
