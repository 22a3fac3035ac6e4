import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError
from pytest_django import DjangoAssertNumQueries

from pooldaemon_example.webhooks import loading
from pooldaemon_example.webhooks.models import Delivery

Load = Callable[..., tuple[int, str, str]]

GOOD = '{"url": "https://example.com/a", "payload": {"n": 1}}'


def line(url: object = "https://example.com/a", payload: object = None) -> str:
    return json.dumps({"url": url, "payload": {} if payload is None else payload})


def nested(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a file of these contents: exit status, stdout, stderr with the path as FILE."""

    def run(content: bytes | str, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "input.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        out, err = io.StringIO(), io.StringIO()
        status = 0
        try:
            call_command("load_deliveries", str(path), *options, stdout=out, stderr=err)
        except SystemExit as exit_:
            status = exit_.code
        return status, out.getvalue(), err.getvalue().replace(str(path), "FILE")

    return run


@pytest.mark.django_db
def test_good_lines_are_loaded_and_blank_ones_skipped(load: Load) -> None:
    content = f"{GOOD}\n\n   \r\n{line('http://h:81/ü?x=ü', {'é': ['日本', None, 1.5]})}\r\n"
    assert load(content) == (0, "loaded 2, rejected 0\n", "")
    first, second = Delivery.objects.order_by("id")
    assert (first.url, first.payload) == ("https://example.com/a", {"n": 1})
    assert (first.status, first.attempts) == ("pending", 0)
    assert (second.url, second.payload) == ("http://h:81/ü?x=ü", {"é": ["日本", None, 1.5]})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"url": ', "not JSON: Expecting value at column 9"),
        ("[1]", "not a JSON object: [1]"),
        ("null", "not a JSON object: None"),
        ('{"url": "http://h/"}', "without payload"),
        ("{}", "without url and payload"),
        ('{"url": "http://h/", "payload": {}, "uri": 1}', "unknown key 'uri'; valid are url, pa"),
        ('{"url": "http://h/", "payload": [1]}', "payload is not a JSON object: [1]"),
        (line(None), "url is not a text but None"),
        (line(""), "url is not a text but ''"),
        (line("ftp://h/x"), "url 'ftp://h/x' is not http(s)://host/…"),
        (line("mailto:a@b"), "url 'mailto:a@b' is not http(s)://host/…"),
        (line("http:///x"), "url 'http:///x' is not http(s)://host/…"),
        (line("/orders"), "url '/orders' is not http(s)://host/… (relative: it needs --base-url)"),
        (line("http://h:port/"), "url 'http://h:port/' is malformed"),
        (line("http://h:99999/"), "url 'http://h:99999/' is malformed"),
        (line("http://[::1/"), "url 'http://[::1/' is malformed"),
        (line("http://u:p@h/"), "holds credentials, which would not be sent"),
        (line("http://h/a b"), "url 'http://h/a b' holds a space or a control character"),
        (line("http://h/\x1b[2J"), r"url 'http://h/\x1b[2J' holds a space or a control character"),
        (line("http://h/" + "a" * 1992), "is longer than 2000 characters"),
        ('{"url": "http://h/", "payload": {"x": NaN}}', "payload holds nan, which is not JSON"),
        ('{"url": "http://h/", "payload": {"x": 1e999}}', "payload holds inf, which is not JSON"),
        (line(payload={"n": [2**64]}), "payload holds an integer of more than 64 bits"),
        ('{"url": "http://h/", "payload": {"n": %s}}' % ("9" * 5000), "a number is too large"),
        (line(payload={"\ud800": 1}), "payload holds half a surrogate pair"),
        (line(payload=nested(31)), "payload is nested deeper than 30"),
        ("[" * 200_000, "nested too deep"),
        (line(payload={"x": "y" * loading.MAX_LINE_BYTES}), "longer than 262144 bytes"),
    ],
)
def test_a_bad_line_is_reported_by_file_and_line_and_costs_no_other(
    load: Load, bad: str, reason: str
) -> None:
    status, out, err = load(f"{GOOD}\n{bad}\n{GOOD}\n")
    assert (status, out) == (1, "loaded 2, rejected 1\n")
    assert err.startswith("FILE:2: ")
    assert reason in err
    assert len(err.splitlines()) == 1
    assert err.isascii() or "…" in err
    assert Delivery.objects.count() == 2


@pytest.mark.django_db
def test_the_largest_storable_values_come_back_as_they_were(load: Load) -> None:
    payload = {"min": -(2**63), "max": 2**64 - 1, "deep": nested(29), "nul": "\0", "e": "😀\\"}
    url = "http://h/" + "a" * 1991
    assert load(line(url, payload))[:2] == (0, "loaded 1, rejected 0\n")
    assert Delivery.objects.get().payload == payload
    assert Delivery.objects.get().url == url


@pytest.mark.django_db
def test_a_last_line_without_newline_is_loaded(load: Load) -> None:
    assert load(f"{GOOD}\n{GOOD}")[:2] == (0, "loaded 2, rejected 0\n")


@pytest.mark.django_db
def test_a_truncated_last_line_is_reported_as_cut(load: Load) -> None:
    status, out, err = load(f"{GOOD}\n{GOOD[:30]}")
    assert (status, out) == (1, "loaded 1, rejected 1\n")
    assert err.startswith("FILE:2: not JSON: ")
    assert err.endswith("(the file ends in this line)\n")


@pytest.mark.django_db
def test_a_file_cut_inside_a_character_is_reported_as_cut(load: Load) -> None:
    cut = line("http://h/").replace("{}", '{"x": "é').encode()[:-2]
    status, out, err = load(GOOD.encode() + b"\n" + cut + "é".encode()[:1])
    assert (status, out) == (1, "loaded 1, rejected 1\n")
    assert err.startswith("FILE:2: not UTF-8 at byte ")
    assert "the file ends" in err


@pytest.mark.django_db
def test_a_binary_file_is_reported_line_by_line(load: Load) -> None:
    status, out, err = load(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe")
    assert (status, out) == (1, "loaded 0, rejected 3\n")
    assert err.splitlines()[0] == "FILE:1: not UTF-8 at byte 1"
    assert [row.split(" ")[0] for row in err.splitlines()] == ["FILE:1:", "FILE:2:", "FILE:3:"]


@pytest.mark.django_db
def test_an_endless_line_is_one_bad_line_and_the_next_is_loaded(load: Load) -> None:
    endless = b"x" * (3 * loading.MAX_LINE_BYTES)
    status, out, err = load(endless + b"\n" + GOOD.encode())
    assert (status, out) == (1, "loaded 1, rejected 1\n")
    assert err == "FILE:1: longer than 262144 bytes\n"


@pytest.mark.django_db
def test_relative_urls_are_joined_to_the_base_and_absolute_ones_left(load: Load) -> None:
    content = "\n".join(line(url) for url in ("/orders/paid?x=1", "https://example.com/a"))
    assert load(content, "--base-url=http://127.0.0.1:8099")[0] == 0
    urls = list(Delivery.objects.order_by("id").values_list("url", flat=True))
    assert urls == ["http://127.0.0.1:8099/orders/paid?x=1", "https://example.com/a"]


@pytest.mark.parametrize("base", ["ftp://h/", "h:80", "/relative", "http://h:x/"])
def test_a_base_that_is_not_http_is_refused(load: Load, base: str) -> None:
    with pytest.raises(CommandError, match="--base-url: url"):
        load(GOOD, f"--base-url={base}")


@pytest.mark.parametrize("content", ["", "\n \n"])
@pytest.mark.django_db
def test_an_empty_file_is_an_error(load: Load, content: str) -> None:
    with pytest.raises(CommandError, match="is empty: nothing to load"):
        load(content)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*none\.jsonl: No such file"):
        call_command("load_deliveries", str(tmp_path / "none.jsonl"))
    with pytest.raises(CommandError, match=r"cannot read .*: Is a directory"):
        call_command("load_deliveries", str(tmp_path))


def test_a_file_that_fails_when_read_is_named() -> None:
    # Address 0 of this process: it can be opened, by root too, but not read.
    with pytest.raises(CommandError, match="cannot read /proc/self/mem: Input/output error"):
        call_command("load_deliveries", "/proc/self/mem")


@pytest.mark.django_db
def test_a_dash_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{GOOD}\nx\n".encode())))
    with pytest.raises(SystemExit, match="1"):
        call_command("load_deliveries", "-")
    out, err = capsys.readouterr()
    assert out == "loaded 1, rejected 1\n"
    assert err == "<stdin>:2: not JSON: Expecting value at column 1\n"


@pytest.mark.django_db
def test_a_long_file_is_loaded_in_batches(
    load: Load, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    lines = loading.BATCH_LINES * 2 + 1
    with django_assert_max_num_queries(20):
        assert load(f"{GOOD}\n" * lines)[1] == f"loaded {lines}, rejected 0\n"
    assert Delivery.objects.count() == lines


@pytest.mark.django_db
def test_large_lines_are_inserted_before_they_outgrow_a_packet(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    bulk_create = Delivery.objects.bulk_create
    monkeypatch.setattr(
        Delivery.objects,
        "bulk_create",
        lambda batch: sizes.append(len(batch)) or bulk_create(batch),
    )
    assert load(f"{line(payload={'x': 'y' * 200_000})}\n" * 12)[0] == 0
    assert sizes == [6, 6, 0]


def test_a_database_failure_says_how_much_was_loaded(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(batch: list[Delivery]) -> None:
        raise DatabaseError("server has gone away")

    monkeypatch.setattr(Delivery.objects, "bulk_create", fail)
    with pytest.raises(CommandError, match=r"failed with 0 .* loaded: server has gone away"):
        load(GOOD)
