"""Which lines of a server's processlist are sessions that we know."""

import pytest

from pooldaemon.sessions import Session, _is_ours

SESSION = Session("default", 5, 40000)
OWN = {"Id": 9, "User": "shop", "Host": "10.0.0.5:50000"}


@pytest.mark.parametrize(
    ("user", "host", "ours"),
    [
        ("shop", "10.0.0.5:40000", True),
        ("shop", "10.0.0.5:40001", False),  # the number was given to another process
        ("shop", "10.0.0.6:40000", False),
        ("shop", "localhost", False),
        ("other", "10.0.0.5:40000", False),
    ],
)
def test_a_session_is_known_by_account_host_and_port(user: str, host: str, ours: bool) -> None:
    assert _is_ours(SESSION, {"Id": 5, "User": user, "Host": host}, OWN) is ours


def test_a_session_over_a_local_socket_has_no_port() -> None:
    own = OWN | {"Host": "localhost"}
    row = {"Id": 5, "User": "shop", "Host": "localhost"}
    assert _is_ours(Session("default", 5, 0), row, own)


def test_a_session_that_is_not_listed_is_not_there() -> None:
    assert not _is_ours(SESSION, None, OWN)
