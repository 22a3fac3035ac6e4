"""Which statements leave nothing on a session: what Django writes, and what tries to hide."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.db import connections, models
from django.db.models import Avg, Case, Count, Exists, F, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import (
    Cast,
    Coalesce,
    Concat,
    ExtractWeekDay,
    Greatest,
    Length,
    Lower,
    Now,
    Rank,
    Substr,
    TruncDay,
    TruncMonth,
    Upper,
)
from django.db.models.sql import DeleteQuery, InsertQuery, UpdateQuery
from hypothesis import given
from hypothesis import strategies as st

from pooldaemon.pool.drivers.mysql.sql import classify
from pooldaemon.pool.drivers.mysql.sql.classify import judge
from tests.unit.databases import AddDatabase

pytest.importorskip("MySQLdb")


@pytest.fixture
def compile_for_mysql(add_database: AddDatabase) -> Callable[[Any], Any]:
    """Django's SQL for a query, as it would be sent to a MySQL server, without one."""
    connection = connections[add_database(ENGINE="pooldaemon.backends.mysql", NAME="unit")]
    # What a server would have answered.
    connection.__dict__["mysql_server_data"] = {
        "version": "8.4.0",
        "sql_mode": "STRICT_TRANS_TABLES",
        "default_storage_engine": "InnoDB",
        "lower_case_table_names": False,
        "has_zoneinfo_database": True,
    }
    # FOR UPDATE is compiled in a transaction only, and asks for an open connection.
    connection.connection, connection.in_atomic_block = Mock(), True
    return lambda query: query.get_compiler(connection=connection).as_sql()


users = User.objects.order_by()
ORM_QUERIES = {
    "all": users.all(),
    "get": users.filter(pk=1)[:21],
    "exclude": users.exclude(Q(username="x") | Q(email__icontains="y")),
    "in": users.filter(pk__in=[1, 2, 3]),
    "range and null": users.filter(pk__range=(1, 9), last_login__isnull=True),
    "regex": users.filter(username__iregex=r"^a.*\("),
    "dates": users.filter(date_joined__year=2026, date_joined__week_day=2, date_joined__hour=3),
    "ordering": User.objects.order_by("-date_joined", F("email").asc(nulls_last=True))[5:10],
    "distinct": users.values("email").distinct(),
    "related": Permission.objects.select_related("content_type").filter(group__name="a"),
    "annotated": users.annotate(n=Count("groups", distinct=True)).filter(n__gt=1),
    "aggregated": users.values("is_staff").annotate(s=Sum("id"), a=Avg("id")),
    "subquery": users.annotate(
        x=Subquery(Group.objects.filter(user=OuterRef("pk")).values("name")[:1])
    ),
    "exists": users.filter(Exists(Group.objects.filter(user=OuterRef("pk")))),
    "case": users.annotate(c=Case(When(is_staff=True, then=Value("s")), default=Value("u"))),
    "text functions": users.annotate(
        a=Lower("email"), b=Upper("email"), c=Length("email"), d=Substr("email", 1, 2),
        e=Concat("first_name", Value(" ("), "last_name"), f=Coalesce("email", Value("")),
    ),
    "date functions": users.annotate(
        a=TruncMonth("date_joined"), b=TruncDay("date_joined"), c=ExtractWeekDay("date_joined"),
        d=Now(), e=Greatest("date_joined", "last_login"),
    ),
    "cast": users.annotate(
        a=Cast("id", models.CharField(max_length=5)),
        b=Cast("username", models.IntegerField()),
        c=Cast("id", models.DecimalField(max_digits=5, decimal_places=2)),
        d=Cast("id", models.FloatField()),
    ),
    "window": users.annotate(r=models.Window(Rank(), partition_by="is_staff", order_by="id")),
    "union": users.values("id").union(Group.objects.order_by().values("id")),
    "locked": users.select_for_update(),
    "locked, skipping": users.select_for_update(skip_locked=True, of=("self",)),
    "many to many": Permission.objects.filter(user__username="x", group__name="y"),
}  # fmt: skip


def other_queries() -> dict[str, Any]:
    insert = InsertQuery(Group)
    insert.insert_values(list(Group._meta.local_concrete_fields), [Group(id=1, name="a(b")])
    ignoring = InsertQuery(Session, on_conflict=models.constants.OnConflict.IGNORE)
    session = Session(session_key="k", session_data="d", expire_date=datetime.now(UTC))
    ignoring.insert_values(list(Session._meta.local_concrete_fields), [session] * 2)
    update = UpdateQuery(User)
    update.add_update_values({"email": Upper("email"), "is_staff": False})
    delete = users.filter(pk__in=[1, 2]).query.chain(DeleteQuery)
    return {"insert": insert, "insert ignore": ignoring, "update": update, "delete": delete}


@pytest.mark.parametrize("name", ORM_QUERIES)
def test_what_the_orm_reads_with_is_clean(name: str, compile_for_mysql: Any) -> None:
    sql, _ = compile_for_mysql(ORM_QUERIES[name].query)
    assert judge(sql), sql


@pytest.mark.parametrize("name", ["insert", "insert ignore", "update", "delete"])
def test_what_the_orm_writes_with_is_clean(name: str, compile_for_mysql: Any) -> None:
    compiled = compile_for_mysql(other_queries()[name])
    sql = compiled[0][0] if isinstance(compiled, list) else compiled[0]
    assert judge(sql), sql


CLEAN = [
    "SELECT 1",
    "select * from t where a = %s",
    "(SELECT 1) UNION (SELECT 2)",
    "  \n SELECT COUNT(*) FROM `t`",
    "INSERT INTO t (a, b) VALUES (%s, %s)",
    "INSERT IGNORE INTO `t` (a) VALUES (%s)",
    "INSERT INTO `t` (a) VALUES (%s) ON DUPLICATE KEY UPDATE a = VALUES(a)",
    "REPLACE INTO t(a) VALUES (%s)",
    "UPDATE t SET a = a + 1 WHERE b IN (%s, %s)",
    "DELETE FROM t WHERE a = 5",
    "WITH c (x) AS (SELECT 1) SELECT x FROM c",
    "WITH RECURSIVE `c` (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
    "SELECT NOW(), UUID(), CONCAT (a, b) FROM t",
    "SELECT t.12, t.1e5, .5, 1.5 FROM t WHERE a IN (.5, 1.)",
    "SELECT a FROM t FOR UPDATE SKIP LOCKED",
    "SAVEPOINT `s140_x1`",
    "RELEASE SAVEPOINT `s140_x1`",
    "ROLLBACK TO SAVEPOINT `s140_x1`",
    b"SELECT a FROM t WHERE b = 'x'",
    "INSERT INTO t (a) VALUES (%s)" + ", (%s)" * 2000,
]

DIRTY = [
    "SELECT GET_LOCK('a', 1)",
    "select get_lock ('a', 1)",
    "SELECT\nGET_LOCK\n(\n'a', 1)",
    "SELECT 1 WHERE 1 = (SELECT RELEASE_ALL_LOCKS())",
    "SELECT @a := 1",
    "SELECT 1 INTO @a",
    "SELECT a INTO\n@`b` FROM t",
    "SELECT @@session.sql_mode",
    "UPDATE t SET a = (@b := a)",
    "SET @a = 1",
    "SET SESSION sql_mode = ''",
    "SET autocommit = 0",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "CALL p()",
    "CALL p",
    "DO GET_LOCK('a', 1)",
    "USE other",
    "BEGIN",
    "START TRANSACTION",
    "COMMIT AND CHAIN",
    "XA START 'x'",
    "LOCK TABLES t READ",
    "FLUSH TABLES WITH READ LOCK",
    "CREATE TEMPORARY TABLE t (a INT)",
    "PREPARE s FROM 'SELECT 1'",
    "EXECUTE s",
    "HANDLER t OPEN",
    "LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
    "TABLE t",
    "VALUES ROW(1)",
    "SHOW VARIABLES",
    "",
    "   ",
    "SELECT 1; SET @a = 1",
    "SELECT 1;",
    b"SELECT a FROM t WHERE b = '\xff'",  # in some charsets the next byte belongs to it
    "/*!50000 SET @a = 1 */",
    "SELECT 1 /*!50000 , GET_LOCK('a', 1) */",
    "SELECT 1 /*M!100100 , GET_LOCK('a', 1) */",
    "SELECT GET_LOCK/**/('a', 1)",
    "SELECT GET_LOCK#\n('a', 1)",
    "SELECT GET_LOCK-- \n('a', 1)",
    "SELECT a FROM t INTO OUTFILE '/tmp/x'",
    "SELECT a FROM t INTO\tDUMPFILE '/tmp/x'",
    "SELECT my_function(1)",
    "SELECT `my_function`(1)",
    "SELECT `now`()",
    "SELECT `GET_LOCK` ('a', 1)",
    'SELECT "my_function"(1)',
    "SELECT shop.my_function(1)",
    "SELECT shop . now (1)",
    "SELECT `shop`.`now`(1)",
    "SELECT 1 #/*\n; SET @a = 1 */",
    "SELECT 1 -- /*\n, GET_LOCK('a', 1) */",
    "SELECT shop.12(1)",
    "SELECT shop.1e5 (1)",
    "SELECT shop.0x1/**/(1)",
    "SELECT shop.a.12(1)",
    "SELECT sys.ps_thread_id(NULL)",
    "SELECT `sys` . `version_major`()",
    "INSERT INTO t (a) VALUES (my_function(1))",
    "INSERT INTO t (a) SELECT GET_LOCK('a', 1)",
    "REPLACE INTO t (a) VALUES (LAST_INSERT_ID(7))",
    "UPDATE t SET a = LAST_INSERT_ID(a + 1)",
    "DELETE FROM t WHERE a = my_function(1)",
    "DELETE FROM t RETURNING my_function(a)",
    "WITH c (x) AS (SELECT GET_LOCK('a', 1)) SELECT x FROM c",
    "WITH GET_LOCK AS (SELECT 1) SELECT GET_LOCK('a', 1)",
    "SELECT NEXTVAL(s)",
    "SELECT NEXT VALUE FOR s",
    "SELECT SETVAL(s, 5)",
    "SELECT SQL_CALC_FOUND_ROWS a FROM t",
    "SELECT * FROM t PROCEDURE ANALYSE()",
    "SELECT BENCHMARK(2, GET_LOCK('a', 1))",
    "SELECT MASTER_POS_WAIT('a', 1)",
    "SELECT fünktion(1)",
    "SELECT fun$(1)",
    "SELECT ran\u212a() OVER ()",  # the Kelvin sign: str.lower() makes a plain k of it
    "SAVEPOINT a; SET @a = 1",
    "SAVEPOINT `a` /*! SET */",
    b"SELECT GET_LOCK('a', 1)",
    b"SET NAMES latin1",
    "SELECT 'a' , GET_LOCK('(' , 1)",
    'SELECT "x", GET_LOCK(\'a\', 1), "(y"',
    "SELECT `x`, GET_LOCK('a', 1), `(y`",
    "SELECT '`', GET_LOCK('a', 1), '`'",
    "SELECT '\"', GET_LOCK('a', 1), '\"'",
]


@pytest.mark.parametrize("statement", CLEAN, ids=lambda s: repr(s[:60]))
def test_a_plain_statement_is_clean(statement: str | bytes) -> None:
    assert judge(statement)


@pytest.mark.parametrize("statement", DIRTY, ids=repr)
def test_a_statement_that_may_leave_something_is_dirty(statement: str | bytes) -> None:
    assert not judge(statement)


# A placeholder inside quotes: the parameter's own quotes end the literal, and what it holds is
# executed. A mistake of the user's, whose session must be reset all the more.
@pytest.mark.parametrize(
    "template", ["SELECT '%s'", "SELECT 'a%s'", 'SELECT "%s"', "SELECT a LIKE '%%%s%%'"]
)
def test_a_parameter_within_quotes_is_not_taken_for_a_literal(template: str) -> None:
    assert not judge(template)


def test_the_second_verdict_on_a_statement_is_the_first() -> None:
    for statement in ("SELECT 1", "SET @a = 1"):
        assert judge(statement) == judge(statement)


def test_statements_longer_than_what_is_cached_are_judged_alike() -> None:
    long = "SELECT " + ", ".join("1" for _ in range(3000))
    assert judge(long)
    assert not judge(long + ", GET_LOCK('a', 1)")


spaces = st.text(" \t\n\r\v\f", max_size=3)
calls = st.sampled_from(
    ["GET_LOCK", "release_lock", "Last_Insert_Id", "my_function", "`now`", "shop.now", "nextval"]
)
places = st.sampled_from(
    [
        "SELECT {}",
        "SELECT 1, {} FROM t",
        "(SELECT {})",
        "SELECT IF({}, 1, 2)",
        "INSERT INTO t (a) VALUES ({})",
        "INSERT INTO t(a) VALUES (1) ON DUPLICATE KEY UPDATE a = {}",
        "UPDATE t SET a = {}",
        "DELETE FROM t WHERE {}",
        "WITH c (x) AS (SELECT 1) SELECT {} FROM c",
        "SELECT a FROM t ORDER BY {}",
        'SELECT \'(\', "`", {}, \'"\', "("',
        "SELECT a FROM t WHERE b = '\\'' AND {}",
    ]
)


@given(place=places, call=calls, before=spaces, between=spaces, upper=st.booleans())
def test_a_call_of_what_is_not_known_is_dirty_wherever_it_stands(
    place: str, call: str, before: str, between: str, upper: bool
) -> None:
    statement = place.format(f"{before}{call}{between}('a', 1)")
    assert not judge(statement.upper() if upper else statement), statement


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        (
            "SELECT a FROM t FOR UPDATE",
            classify.WRITES,
        ),  # which does no harm: see forget_foreign()
        ("SELECT a FROM t", classify.READS),
        ("SAVEPOINT `a`", classify.SAVEPOINT),
        ("INSERT INTO t (a) VALUES (1)", classify.WRITES),
        ("WITH c AS (SELECT 1) DELETE FROM t WHERE a IN (SELECT * FROM c)", classify.WRITES),
        ("SET @a = 1", classify.DIRTY),
    ],
)
def test_reads_and_writes_are_distinguished(statement: str, verdict: int) -> None:
    assert judge(statement) == verdict
