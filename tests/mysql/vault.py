"""A password provider over a real account, whose password it changes."""

import secrets
import threading
from collections.abc import Callable
from typing import Any

from tests.mysql.scratch import Scratch


class Vault:
    """Returns the password of an account, and rotates it. A caller never gets one in between.

    :param lifetime: seconds that it returns with it; `None`: none.
    """

    def __init__(self, scratch: Scratch, lifetime: float | None = None) -> None:
        self.scratch = scratch
        self.lifetime = lifetime
        self.password = scratch.account.password
        self.calls = 0
        self.before_answer: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def __call__(self) -> Any:
        self.calls += 1
        self.before_answer()
        with self._lock:
            return self.password if self.lifetime is None else (self.password, self.lifetime)

    def rotate(self) -> None:
        with self._lock:
            self.password = secrets.token_hex(8)
            user = self.scratch.account.user
            statement = f"ALTER USER '{user}'@'%%' IDENTIFIED BY %s"
            self.scratch.admin.query(statement, [self.password])

    def settings(self, **pool: Any) -> dict[str, Any]:
        """An entry of DATABASES, without the password."""
        options = {"pool": {"password_provider": self, **pool}}
        return self.scratch.account.settings(PASSWORD="", OPTIONS=options)
