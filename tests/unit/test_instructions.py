"""The guard of the hot path: what it says of two counts, and where it has nothing to compare."""

import pytest

from benchmarks.instructions import SkippedError, check_comparable, compare

BUILD = {"Python": "3.11.7 (GCC 12.2.0)", "machine": "x86_64"}


def counted(*, django: str = "5.2.1", **instructions: int) -> dict[str, object]:
    return {**BUILD, "packages": {"Django": django}, "instructions": instructions}


def test_five_percent_more_are_allowed() -> None:
    lines, failed = compare(counted(borrow=1000), counted(borrow=1050))
    assert not failed
    assert len(lines) == 1


def test_more_fail_and_the_message_says_which_and_what_to_do() -> None:
    before, now = counted(borrow=1000, session=5000), counted(borrow=1061, session=4000)
    lines, failed = compare(before, now)
    assert failed
    text = "\n".join(lines)
    for part in ("1000", "1061", "+6.1%", "-20.0%", "failed: borrow.", "ARGS=--write"):
        assert part in text
    assert "Django" not in text


def test_another_version_of_a_package_is_named() -> None:
    lines, _ = compare(counted(borrow=1000), counted(borrow=2000, django="6.1"))
    assert lines[-1] == "Django was 5.2.1 then and is 6.1 now."


def test_a_case_that_only_one_side_knows_fails() -> None:
    _, failed = compare(counted(borrow=1000), counted(session=1000))
    assert failed


def test_a_python_without_numbers_is_skipped() -> None:
    with pytest.raises(SkippedError, match=r"no numbers are committed for Python 3\.11"):
        check_comparable(None, BUILD, "3.11")


def test_another_build_of_the_same_python_is_skipped() -> None:
    other = BUILD | {"Python": "3.11.7 (Clang 15)"}
    with pytest.raises(SkippedError, match="Clang 15"):
        check_comparable(counted(), other, "3.11")
    check_comparable(counted(), BUILD, "3.11")
