"""Test databases are created, cloned and destroyed with the pool closed."""

from __future__ import annotations

from typing import Any


class PooledCreationMixin:
    """Goes over a backend's ``DatabaseCreation``. A session must not outlive its database."""

    connection: Any  # a wrapper with PooledDatabaseMixin

    def _close_pool(self) -> None:
        if (pool := self.connection.pool) is not None:
            pool.close()

    def _create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        self._close_pool()
        return super()._create_test_db(*args, **kwargs)  # type: ignore[misc]

    def _clone_test_db(self, *args: Any, **kwargs: Any) -> None:
        self._close_pool()
        super()._clone_test_db(*args, **kwargs)  # type: ignore[misc]

    def _destroy_test_db(self, *args: Any, **kwargs: Any) -> None:
        self._close_pool()
        super()._destroy_test_db(*args, **kwargs)  # type: ignore[misc]
