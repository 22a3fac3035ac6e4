"""As much of it as the documentation uses."""

from types import SimpleNamespace


def client(service: str) -> SimpleNamespace:
    assert service == "rds"
    return SimpleNamespace(generate_db_auth_token=token)


def token(*, DBHostname: str, Port: int, DBUsername: str) -> str:  # noqa: N803 - its own names
    return f"{DBUsername}@{DBHostname}:{Port}"
