from types import SimpleNamespace

from django.db import connection


def send(_phone: str, _text: str) -> str:
    assert connection.connection is None  # none is held through what is slow
    return "receipt"


gateway = SimpleNamespace(send=send)
