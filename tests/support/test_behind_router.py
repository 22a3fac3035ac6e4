import pytest
from django.db import OperationalError

from tests.support import behind_router
from tests.support.behind_router import refusal


def test_only_the_routers_own_errors_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = OperationalError(3566, "LAST_INSERT_ID() not supported")
    monkeypatch.setattr(behind_router, "SHARING", False)
    assert refusal(refused) is None
    monkeypatch.setattr(behind_router, "SHARING", True)
    assert "error 3566" in (refusal(refused) or "")
    leak = AssertionError("left")
    leak.__context__ = refused
    for error in (None, leak, OperationalError(1064, "syntax"), OperationalError()):
        assert refusal(error) is None
