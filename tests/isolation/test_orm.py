"""What Django's ORM sends is clean: on a schema without hidden code it is never reset."""

import datetime
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, connections, transaction
from django.db.models import (
    Avg,
    BooleanField,
    Case,
    Count,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    FilteredRelation,
    FloatField,
    Max,
    Min,
    OuterRef,
    Prefetch,
    Q,
    StdDev,
    Subquery,
    Sum,
    TextField,
    Value,
    Variance,
    When,
    Window,
)  # fmt: skip
from django.db.models import functions as fn
from django.test import override_settings
from django.utils import timezone

from pooldaemon import auto_close_db
from pooldaemon.pool.drivers.mysql.sql.classify import judge
from tests.isolation.conftest import OpenPool, prepared_scratch
from tests.isolation.models import Author, Book, Tag
from tests.mysql.scratch import Scratch

pytestmark = pytest.mark.mysql

NOW = datetime.datetime(2026, 5, 17, 12, 30, 45, 123456, tzinfo=datetime.UTC)
MODELS = (Author, Tag, Book)


class Orm:
    """The models' managers on one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.authors = Author.objects.using(alias)
        self.books = Book.objects.using(alias)
        self.tags = Tag.objects.using(alias)
        self.has = connections[alias].features


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    """Relations are found backwards only between models of installed apps."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.isolation"]):
        yield


@pytest.fixture(scope="module")
def schema() -> Iterator[Scratch]:
    """Of this module alone: its tables are those of the models."""
    yield from prepared_scratch()


@contextmanager
def every_statement_clean(orm: Orm) -> Iterator[None]:
    """Names the unclean statements, where the pool only counts resets."""
    unclean: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not judge(sql):
            unclean.append(sql)
        return execute(sql, params, many, context)

    with connections[orm.alias].execute_wrapper(note):
        yield
    assert unclean == []


@pytest.fixture
def orm(open_pool: OpenPool, schema: Scratch) -> Iterator[Orm]:
    """Tables with some rows, and a pool that has only seen what the test does."""
    maker = open_pool(scratch=schema, ping_after=26)
    with maker.connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
    maker.connection.close()
    pool = open_pool(scratch=schema)
    with pool.borrowed() as connection:
        connection.mysql_version  # noqa: B018  # asked once per pool, about variables
    resets = pool.stats.resets
    orm = Orm(pool.alias)
    try:
        with every_statement_clean(orm):
            fill(orm)
        connections[orm.alias].close()
        assert pool.stats.resets == resets
        yield orm
    finally:
        connections[orm.alias].close()
        with maker.connection.schema_editor() as editor:
            for model in reversed(MODELS):
                editor.delete_model(model)
        maker.connection.close()


def fill(orm: Orm) -> None:
    authors = orm.authors.bulk_create(
        Author(name=f"Author {n}", born=datetime.date(1950 + n, 1, 1)) for n in range(4)
    )
    authors = list(orm.authors.order_by("id"))
    orm.tags.bulk_create(Tag(word=word) for word in ("new", "old", "set-role"))
    orm.books.bulk_create(
        Book(
            title=f"Book {n}", author=authors[n % 4], price=n + 1, pages=n * 10, sold=NOW,
            took=datetime.timedelta(hours=n), data={"a": n, "b": [1, {"c": "@x"}]},
            key=uuid.UUID(int=n),
        )
        for n in range(12)
    )  # fmt: skip
    for book in orm.books.all():
        book.tags.set(orm.tags.all()[:2])


def filters(orm: Orm) -> Any:
    books = orm.books
    yield books.filter(title="it's; @x -- /* */")
    yield books.filter(Q(title__icontains="oo") | ~Q(author__name__startswith="A"), pages__gt=1)
    for lookup in (
        "exact",
        "iexact",
        "contains",
        "startswith",
        "istartswith",
        "endswith",
        "iendswith",
    ):
        yield books.filter(**{f"title__{lookup}": "B_%"})
    for lookup in ("regex", "iregex"):
        yield books.filter(**{f"title__{lookup}": "^B.*[0-9]$"})
    yield books.filter(pages__in=[1, 2, 3], pages__range=(1, 100), sold__isnull=False)
    yield books.filter(author__in=orm.authors.filter(name="x"))
    yield books.exclude(tags__word="new").distinct()
    yield books.filter(price__gte=F("pages") / 2 + 1, key=uuid.UUID(int=1))
    for part in ("year", "month", "day", "week", "week_day", "quarter", "hour", "minute", "second",
                 "iso_year", "iso_week_day"):  # fmt: skip
        yield books.filter(**{f"sold__{part}": 5})
    yield books.filter(sold__date=NOW.date(), sold__time__gt=datetime.time(1, 2, 3))
    yield books.filter(took__gt=datetime.timedelta(hours=3))


def json_lookups(orm: Orm) -> Any:
    yield orm.books.filter(data__a=1)
    yield orm.books.filter(data__b__1__c="@x", data__a__gt=0)
    yield orm.books.filter(data__has_key="a", data__has_keys=["a", "b"])
    yield orm.books.filter(data__has_any_keys=["a", "z"], data__contains={"a": 1})
    yield orm.books.filter(data__contained_by={"a": 1}, data__a__isnull=False)
    yield orm.books.filter(data__b__0__in=[1, 2]).values("data__b")
    yield orm.books.filter(data__b__1__c__icontains="X").order_by("data__a")
    yield orm.books.annotate(o=fn.JSONObject(t="title", p=F("pages"))).values("o")


def annotations(orm: Orm) -> Any:
    books = orm.books
    price = Case(
        When(price__gt=3, then=Value("dear")), default=Value("cheap"), output_field=TextField()
    )
    yield books.annotate(kind=price).values("kind").annotate(n=Count("*")).order_by("-n")
    yield books.annotate(n=Count("tags", filter=Q(tags__word="new"), distinct=True)).filter(n__gt=0)
    yield books.annotate(x=ExpressionWrapper(Q(pages__gt=5), output_field=BooleanField()))
    yield orm.authors.annotate(
        last=Subquery(books.filter(author=OuterRef("pk")).values("title")[:1])
    )
    yield orm.authors.filter(Exists(books.filter(author=OuterRef("pk"), pages__gt=5)))
    yield orm.authors.annotate(
        old=FilteredRelation("books", condition=Q(books__pages__gt=5))
    ).filter(old__price__gt=1)
    yield books.annotate(later=ExpressionWrapper(F("sold") - NOW, output_field=DurationField()))
    yield books.annotate(later=F("sold") + datetime.timedelta(days=1, microseconds=5))
    yield books.dates("sold", "month")
    yield books.datetimes("sold", "hour", tzinfo=datetime.UTC)
    yield books.extra(select={"twice": "pages * 2"}, where=["pages > %s"], params=[1])
    yield books.select_related("author").prefetch_related("tags", Prefetch("author__books"))
    yield books.values_list("title", flat=True).union(orm.authors.values_list("name"))
    yield books.filter(pages=1).union(books.filter(pages=10), all=True).order_by("title")[:3]
    yield books.only("title").defer("pages").reverse().order_by("?")[1:3]
    yield books.none()
    yield books.alias(n=Count("tags")).filter(n=2).order_by(F("sold").desc(nulls_last=True))


def functions(orm: Orm) -> Any:
    text, number, moment = F("title"), F("pages"), F("sold")
    of_text = (fn.Lower, fn.Upper, fn.Length, fn.Trim, fn.LTrim, fn.RTrim, fn.Reverse, fn.Ord,
               fn.SHA256, fn.SHA512)  # fmt: skip
    of_number = (fn.Abs, fn.Ceil, fn.Floor, fn.Cos, fn.Sin, fn.Tan, fn.ATan, fn.Degrees, fn.Radians,
                 fn.Exp, fn.Sqrt, fn.Sign, fn.Round)  # fmt: skip
    of_moment = (fn.TruncYear, fn.TruncQuarter, fn.TruncMonth, fn.TruncWeek, fn.TruncDay,
                 fn.TruncHour,
                 fn.TruncMinute, fn.TruncSecond, fn.TruncDate, fn.TruncTime, fn.ExtractYear,
                 fn.ExtractIsoYear, fn.ExtractMonth, fn.ExtractWeek, fn.ExtractWeekDay,
                 fn.ExtractIsoWeekDay, fn.ExtractQuarter, fn.ExtractHour,
                 fn.ExtractSecond)  # fmt: skip
    for function in of_text:
        yield orm.books.annotate(x=function(text))
    for function in of_number:
        yield orm.books.annotate(x=function(number, output_field=FloatField()))
    for function in of_moment:
        yield orm.books.annotate(x=function(moment, tzinfo=datetime.UTC))
    for expression in (
        fn.Concat(text, Value("@"), text), fn.Coalesce(text, Value("x")), fn.Left(text, 2),
        fn.Right(text, 2), fn.LPad(text, 9, Value(".")), fn.RPad(text, 9), fn.Repeat(text, 2),
        fn.Replace(text, Value("B"), Value("C")), fn.StrIndex(text, Value("o")),
        fn.Substr(text, 2, 2), fn.Chr(Value(65)), fn.NullIf(text, Value("x")), fn.Now(),
        fn.Greatest(number, Value(3)), fn.Least(number, Value(3)), fn.Mod(number, Value(3)),
        fn.Power(number, Value(2)), fn.Log(Value(2), number + 1), fn.Ln(number + 1), fn.Pi(),
        fn.ATan2(number, Value(1)), fn.Random(), fn.Cast(number, TextField()),
        fn.Cast(text, FloatField()), fn.Collate(text, "utf8mb4_bin"), fn.Cot(number + 1),
        number.bitand(3), number.bitor(3), number.bitxor(3), number.bitleftshift(1), number % 3,
    ):  # fmt: skip
        yield orm.books.annotate(x=expression)
    if orm.has.supports_comparing_boolean_expr:
        yield orm.books.annotate(x=Q(pages=1) | Q(pages=2))


def windows(orm: Orm) -> Any:
    for function in (fn.RowNumber(), fn.Rank(), fn.DenseRank(), fn.PercentRank(), fn.CumeDist(),
                     fn.Ntile(3), fn.Lag("pages"), fn.Lead("pages"), fn.FirstValue("pages"),
                     fn.LastValue("pages"), fn.NthValue("pages", 2), Sum("pages")):  # fmt: skip
        window = Window(function, partition_by=[F("author")], order_by=F("pages").asc())
        yield orm.books.annotate(w=window)
    yield orm.books.annotate(r=Window(fn.RowNumber(), order_by="pages")).filter(r__lt=3)


def aggregates(orm: Orm) -> None:
    orm.books.aggregate(
        Count("author", distinct=True), Sum("pages"), Avg("price"), Min("sold"),
        Max("title"), StdDev("pages"), Variance("pages", sample=True),
        all=Count("*"), n=Count("pk", filter=Q(pages__gt=3)), half=Sum("pages", default=0) / 2,
    )  # fmt: skip
    orm.books.values("author__name").annotate(n=Count("*"), p=Avg("pages")).filter(n__gt=1).count()
    assert orm.books.count() == 12
    assert orm.books.filter(pages=10).exists()
    orm.books.filter(tags__word="new").distinct().count()
    orm.books.annotate(tagged=Count("tags")).aggregate(Max("tagged"))


def reading_one(orm: Orm) -> None:
    book = orm.books.get(title="Book 1")
    book.refresh_from_db()
    orm.books.first(), orm.books.last(), orm.books.latest("sold"), orm.books.earliest("sold")
    orm.books.in_bulk([book.pk]), orm.books.filter(pages=1).first()
    assert orm.books.contains(book)
    list(book.author.books.all()), list(book.tags.all())


def iterators(orm: Orm) -> None:
    assert sum(1 for _ in orm.books.iterator(chunk_size=2)) == 12
    assert sum(1 for _ in orm.books.prefetch_related("tags").iterator(chunk_size=5)) == 12
    rows = orm.books.values_list("pk").iterator()
    next(rows)  # and it is left like that
    for book in orm.books.iterator(chunk_size=1):
        orm.authors.get(pk=book.author_id)


def writing(orm: Orm) -> None:
    author = orm.authors.create(name="New; SET @x = 1")
    author.email = "@"
    author.save(), author.save(update_fields=["email"]), author.save(force_update=True)
    orm.authors.get_or_create(name="Other", defaults={"born": NOW.date()})
    orm.authors.get_or_create(name="Other")
    orm.authors.update_or_create(name="Other", defaults={"email": "c"})
    orm.books.filter(pages__gt=3).update(pages=F("pages") + 1, price=Decimal("1.50"))
    orm.books.update(title=fn.Concat("title", Value("!")))
    orm.books.filter(author__name="Author 1").update(pages=7)
    orm.books.filter(pages=7).update(data={"x": "@y;"}, sold=timezone.now())
    orm.books.update(pages=Case(When(price__gt=3, then=F("pages") * 2), default=F("pages")))
    books = list(orm.books.all())
    for book in books:
        book.pages += 1
    orm.books.bulk_update(books, ["pages", "data"], batch_size=5)
    orm.books.filter(author=author).delete()
    books[0].delete()
    orm.tags.get(word="new").delete()
    orm.authors.filter(name__startswith="Author").delete()
    orm.books.all().delete()


def bulk_creating(orm: Orm) -> None:
    tags = [Tag(word=f"w{n}") for n in range(50)]
    orm.tags.bulk_create(tags, batch_size=7)
    orm.tags.bulk_create(tags[:3], ignore_conflicts=True)
    author = orm.authors.first()
    books = [Book(title=f"Book {n}", author=author, price=3) for n in range(20)]
    orm.books.bulk_create(books, update_conflicts=True, update_fields=["price", "pages"])
    orm.tags.bulk_create([])
    book = orm.books.first()
    assert book is not None
    book.tags.add(*orm.tags.all()), book.tags.remove(tags[0]), book.tags.clear()
    book.tags.create(word="made"), book.tags.set([])
    assert author is not None
    author.books.create(title="Another"), author.books.update(pages=1)


def binaries(orm: Orm) -> None:
    cover = b"\x00;@'\""
    author = orm.authors.create(name="Painter")
    book = orm.books.create(title="Covered", author=author, cover=cover)
    assert orm.books.get(cover=cover) == book
    orm.books.filter(cover__in=[cover, b""]).update(cover=cover + b"`")
    orm.books.bulk_create(Book(title=f"{n}", author=author, cover=cover) for n in range(3))


def transactions(orm: Orm) -> None:
    alias = orm.alias
    with transaction.atomic(using=alias):
        list(orm.books.select_for_update().filter(pages__gt=5))
        with transaction.atomic(using=alias):
            orm.tags.create(word="inner")
        with pytest.raises(IntegrityError), transaction.atomic(using=alias):
            orm.tags.create(word="inner")
        with transaction.atomic(using=alias):
            orm.tags.create(word="undone")
            transaction.set_rollback(True, using=alias)
        if orm.has.has_select_for_update_skip_locked:
            list(orm.books.select_for_update(skip_locked=True)[:2])
        if orm.has.has_select_for_update_nowait:
            list(orm.books.select_for_update(nowait=True)[:2])
        if orm.has.has_select_for_update_of:
            list(orm.books.select_related("author").select_for_update(of=("self",)))
    with transaction.atomic(using=alias):
        orm.tags.create(word="rolled-back")
        transaction.set_rollback(True, using=alias)
    with transaction.atomic(using=alias, durable=True):
        transaction.on_commit(lambda: orm.tags.create(word="after"), using=alias)
    assert not orm.tags.filter(word__in=["undone", "rolled-back"]).exists()
    with pytest.raises(IntegrityError):
        orm.tags.create(word="inner")


def raw_queries(orm: Orm) -> None:
    table = Book._meta.db_table
    list(orm.books.raw(f"SELECT * FROM {table} WHERE pages > %s", [3]))
    with connections[orm.alias].cursor() as cursor:
        for sql in (
            "SELECT 1",
            f"SELECT COUNT(*) FROM {table} WHERE title LIKE 'B%%' AND pages > %s",
            f"select id, title from {table} where id in (%s, 2) order by id desc limit 3",
            f"SELECT UPPER(title) FROM {table} WHERE EXISTS (SELECT 1 FROM {table}) AND 1 = %s",
            f"UPDATE {table} SET pages = pages + 1 WHERE id = %s",
        ):
            cursor.execute(sql, [1] if "%s" in sql else None)
            cursor.fetchall()
        cursor.executemany(f"UPDATE {table} SET pages = %s WHERE id = %s", [(1, 2), (3, 4)])


def evaluated(queries: Callable[[Orm], Any]) -> Callable[[Orm], None]:
    def operate(orm: Orm) -> None:
        for query in queries(orm):
            list(query)

    operate.__name__ = queries.__name__
    return operate


OPERATIONS = [
    *map(evaluated, [filters, json_lookups, annotations, functions, windows]),
    aggregates, reading_one, iterators, writing, binaries, bulk_creating, transactions, raw_queries,
]  # fmt: skip


@pytest.mark.parametrize("operate", OPERATIONS, ids=lambda operation: operation.__name__)
def test_the_orm_is_never_reset(orm: Orm, operate: Callable[[Orm], None]) -> None:
    connection: Any = connections[orm.alias]
    before = connection.pool.stats()
    with auto_close_db(), every_statement_clean(orm):
        operate(orm)
    after = connection.pool.stats()
    assert (after.resets, after.connects, dict(after.discards)) == (before.resets, 1, {})
    assert (after.in_use, after.idle) == (0, 1)


@pytest.mark.parametrize("body", ["SET NEW.word = UPPER(NEW.word)", "SET @x = 1"])
def test_a_trigger_on_its_table_resets_what_the_orm_writes_only_if_it_may_leave_something(
    open_pool: OpenPool, schema: Scratch, orm: Orm, body: str
) -> None:
    name, table = schema.account.name, Tag._meta.db_table
    schema.admin.query(
        f"CREATE TRIGGER {name}.hidden BEFORE INSERT ON {name}.{table} FOR EACH ROW {body}"
    )
    try:
        other = open_pool(scratch=schema, ping_after=25)
        for number in range(1, 4):
            with auto_close_db():
                reading_one(Orm(other.alias))
            with auto_close_db():
                Tag.objects.using(other.alias).create(word=f"{body[:5]}-{number}")
            assert other.stats.resets == number * ("@" in body)
    finally:
        schema.admin.query(f"DROP TRIGGER {name}.hidden")
