"""make conformance without Django's tests: what is compared, printed, and kept."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance import comparison, packages
from conformance.comparison import Comparison
from conformance.differences import Listed, read_list
from conformance.kept import Kept
from conformance.suite import NoTestsError, Outcomes, SuiteError, batches, recorded
from pooldaemon.testing.processes import is_alive
from tests.support.poll import wait_until

PASSED = {"app.tests.T.test_a": "passed", "other.tests.T.test_b": "passed"}


class FakeSuite:
    """*outcomes* on Django's backend; on ours with the changes made."""

    def __init__(self) -> None:
        self.outcomes: Outcomes = dict(PASSED)
        self.changes: Outcomes = {}
        self.changes_of_alone: Outcomes | None = None
        self.broken: set[str] = set()
        self.ran: list[tuple[str, str]] = []

    def run(self, backend: str, labels: Sequence[str]) -> Outcomes:
        self.ran += [(backend, label) for label in labels]
        if self.broken.intersection(labels):
            raise SuiteError(f"it broke off on {backend}")
        changes = self.changes
        if self.changes_of_alone is not None and "." in labels[0]:
            changes = self.changes_of_alone
        outcomes = self.outcomes if backend == "django" else self.outcomes | changes
        return {
            test: end for test, end in outcomes.items() if any(label in test for label in labels)
        }


@pytest.fixture
def suite() -> FakeSuite:
    return FakeSuite()


@pytest.fixture
def compare(
    suite: FakeSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    def run(*labels: str, listed: Sequence[Listed] = ()) -> int:
        monkeypatch.setattr(comparison.differences, "read_list", lambda: listed)
        fake: Any = suite
        compared = Comparison(fake, Kept(tmp_path), ["session"])
        compared.compare(labels)
        return compared.report()

    return run


def test_equal_outcomes_are_conformance(compare: Callable[..., int], capsys: Any) -> None:
    assert compare("app", "other") == 0
    assert "app other: 2 tests" in capsys.readouterr().out


@pytest.mark.parametrize("end", ["failed: Error: no", "skipped", "not run"])
def test_a_test_that_ends_otherwise_fails_the_run_unless_it_is_listed(
    compare: Callable[..., int], suite: FakeSuite, capsys: Any, end: str
) -> None:
    suite.changes = {"app.tests.T.test_a": end}
    assert compare("app", "other", listed=[Listed("app.*", "*", ("session",), "")]) == 0
    assert compare("app", "other", listed=[Listed("app.*", "*", ("transaction",), "")]) == 1
    assert f"app.tests.T.test_a\n    Django's: passed\n    ours: {end}" in capsys.readouterr().out


def test_a_listed_test_that_ends_in_another_way_than_its_reason_says_fails_the_run(
    compare: Callable[..., int], suite: FakeSuite
) -> None:
    suite.changes = {"app.tests.T.test_a": "failed: Error: 3 != 4"}
    assert compare("app", listed=[Listed("app.*", "failed: Error: * != *", ("session",), "")]) == 0
    assert compare("app", listed=[Listed("app.*", "failed: Other: *", ("session",), "")]) == 1


def test_a_difference_that_is_gone_when_the_test_runs_alone_is_reported_and_does_not_count(
    compare: Callable[..., int], suite: FakeSuite, capsys: Any
) -> None:
    suite.changes = {"app.tests.T.test_a": "failed: Error: late"}
    suite.changes_of_alone = {}
    assert compare("app") == 0
    assert "app.tests.T.test_a differs, but not when it runs alone" in capsys.readouterr().out


def test_a_failure_in_other_words_is_the_same_failure(
    compare: Callable[..., int], suite: FakeSuite
) -> None:
    suite.outcomes["app.tests.T.test_a"] = "failed: Error: 1"
    suite.changes = {"app.tests.T.test_a": "failed: Error: 2"}
    assert compare("app") == 0


def test_what_has_run_is_not_run_again(compare: Callable[..., int], suite: FakeSuite) -> None:
    compare("app")
    assert suite.ran == [("django", "app"), ("session", "app")]
    suite.ran.clear()
    assert compare("app", "other") == 0
    assert suite.ran == [("django", "other"), ("session", "other")]


def test_what_was_forgotten_is_run_again(
    compare: Callable[..., int], suite: FakeSuite, tmp_path: Path
) -> None:
    compare("app")
    Kept(tmp_path).forget(["app"])
    compare("app")
    assert suite.ran == [("django", "app"), ("session", "app")] * 2


def test_an_app_that_breaks_off_fails_the_run_and_leaves_the_others_compared(
    compare: Callable[..., int], suite: FakeSuite, capsys: Any
) -> None:
    suite.broken = {"app"}
    assert compare("app", "other") == 1
    output = capsys.readouterr()
    assert "it broke off on django" in output.err
    assert "other: 1 tests" in output.out
    assert output.out.endswith("not compared, since they broke off: app\n")


def test_a_failed_set_up_of_a_class_belongs_to_its_app(
    compare: Callable[..., int], suite: FakeSuite
) -> None:
    suite.outcomes = {"setUpClass (app.tests.T)": "failed: Error: no"}
    assert compare("app") == 0


def test_a_test_of_no_app_is_not_lost_unseen(
    compare: Callable[..., int], suite: FakeSuite, capsys: Any
) -> None:
    suite.outcomes["elsewhere.app"] = "passed"
    assert compare("app") == 1
    assert "elsewhere.app is in none of app" in capsys.readouterr().err


def test_geodjangos_tests_run_by_themselves() -> None:
    assert list(batches(["a", "gis_tests", "gis_tests.geoapp", "b", "c"])) == [
        ["a"],
        ["gis_tests", "gis_tests.geoapp"],
        ["b", "c"],
    ]
    assert [len(batch) for batch in batches(map(str, range(25)))] == [10, 10, 5]


@pytest.mark.parametrize("missing", ["tests", "tests/settings.py"])
def test_a_package_whose_source_has_no_tests_says_so_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(packages, "SOURCES", tmp_path)
    package = packages.Package("some-package", tests=("tests",), settings="tests.settings")
    package.source.mkdir(parents=True)
    if missing != "tests":
        (package.source / "tests").mkdir()
    with pytest.raises(
        NoTestsError, match=rf"no {missing}\. .* put a checkout of its repository in"
    ):
        package.prepare()


def test_a_package_without_tests_is_reported_and_does_not_fail_the_run(
    compare: Callable[..., int],
    suite: FakeSuite,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def has_none(*given: Any) -> Outcomes:
        raise NoTestsError("app: it has no tests")

    monkeypatch.setattr(suite, "run", has_none)
    assert compare("app") == 0
    output = capsys.readouterr()
    assert "app: it has no tests" in output.err
    assert output.out.endswith("not compared, since they bring no tests: app\n")


def test_what_does_not_end_in_time_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", "import time; time.sleep(300)"]
    with pytest.raises(SuiteError, match=r"^it did not end within 0\.1 s:"):
        recorded("it", command, tmp_path, {}, timeout=0.1)


def test_what_a_suite_has_started_and_left_ends_with_it(tmp_path: Path) -> None:
    script = """if True:
        import os, pathlib, time
        if child := os.fork():
            pathlib.Path(os.environ["CONFORMANCE_RECORD"]).write_text('{"child": "%d"}' % child)
        else:
            time.sleep(300)
    """
    outcomes = recorded("it", [sys.executable, "-c", script], tmp_path, {})
    wait_until(lambda: not is_alive(int(outcomes["child"])), 10, "its child is still there")


def test_for_a_package_that_is_not_listed_the_message_names_those_that_are() -> None:
    with pytest.raises(SuiteError, match=r"it has django-mysql, "):
        packages.Packages().run("session", ["nothing"])


def test_a_packages_test_runs_alone_by_the_id_it_was_recorded_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []

    def record(what: str, command: list[str], *rest: Any) -> Outcomes:
        ran.append(command[-1])
        return {"tests/test_a.py::test_b[(1.5)]": "failed: here"}

    monkeypatch.setattr(packages.Package, "prepare", lambda self: None)
    monkeypatch.setattr(packages, "recorded", record)
    suite = packages.Packages()
    (recorded,) = suite.run("session", ["django-mysql"])
    assert suite.run("session", [comparison._label(recorded)]) == {recorded: "failed: here"}
    assert ran == ["tests", "tests/test_a.py::test_b[(1.5)]"]
    assert comparison._is_of("django-mysql", recorded)


def test_every_listed_difference_has_its_reason() -> None:
    assert all(one.reason.strip() and one.modes and one.ends for one in read_list())
