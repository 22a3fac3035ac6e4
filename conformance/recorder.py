"""Inside a run of Django's test suite: writes down how each test ended."""

from __future__ import annotations

import json
import unittest
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test.runner import DiscoverRunner


class RecordingResult(unittest.TextTestResult):
    """Keeps how each test ended, and what its error said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    # The names are unittest's.

    def startTest(self, test: Any) -> None:  # noqa: N802
        self.outcomes.setdefault(test.id(), "passed")
        super().startTest(test)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.outcomes[test.id()] = _failure(err)
        super().addError(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.outcomes[test.id()] = _failure(err)
        super().addFailure(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.outcomes[test.id()] = _failure(err)
        super().addSubTest(test, subtest, err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        if not hasattr(test, "test_case"):  # of a subtest: the rest of its test counts
            self.outcomes[test.id()] = "skipped"
        super().addSkip(test, reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.outcomes[test.id()] = "failed as expected"
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self.outcomes[test.id()] = "passed unexpectedly"
        super().addUnexpectedSuccess(test)

    def stopTestRun(self) -> None:  # noqa: N802
        super().stopTestRun()
        Path(settings.CONFORMANCE_RECORD).write_text(  # type: ignore[misc]
            json.dumps(self.outcomes), encoding="utf-8"
        )


def _failure(error: Any) -> str:
    kind, value, _traceback = error
    return f"failed: {kind.__name__}: {' '.join(str(value).split())[:300]}"


class RecordingRunner(DiscoverRunner):
    def get_resultclass(self) -> type[RecordingResult]:
        return RecordingResult
