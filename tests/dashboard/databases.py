"""The test's own database, for other processes."""

from typing import Any

from django.db import connection


class OwnDatabase:
    """What a daemon under test needs of it."""

    def __init__(self) -> None:
        wanted = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")
        self.settings: dict[str, Any] = {key: connection.settings_dict[key] for key in wanted}

    def sessions(self) -> list[Any]:
        return []  # those of the test are among them
