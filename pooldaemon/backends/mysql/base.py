"""Django's MySQL backend with pooled connections."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from pooldaemon.exceptions import ImproperlyConfigured

try:
    import MySQLdb
except ImportError as error:
    raise ImproperlyConfigured(
        "pooldaemon.backends.mysql needs mysqlclient: pip install 'pooldaemon[mysql]'. To build it "
        "pip needs a C compiler, pkg-config and the client library's headers; on Debian and "
        "Ubuntu: apt-get install gcc python3-dev pkg-config libmariadb-dev"
        f" ({error})"
    ) from error

if MySQLdb.__name__ != "MySQLdb":
    raise ImproperlyConfigured(
        f"{MySQLdb.__name__} replaces mysqlclient (install_as_MySQLdb()), and "
        "pooldaemon.backends.mysql can't work with it: it can't reset a session. "
        "Remove that call and install mysqlclient."
    )

from django.db.backends.mysql import base
from django.utils.functional import cached_property

from pooldaemon.backends.base import PooledDatabaseMixin
from pooldaemon.backends.mysql.client import DatabaseClient
from pooldaemon.backends.mysql.creation import DatabaseCreation
from pooldaemon.backends.mysql.historic import historic_settings
from pooldaemon.pool.config import PoolConfig
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.drivers.mysql.setup_timeout import CONNECT_TIMEOUT, bound_opening
from pooldaemon.pool.queue import lease


class DatabaseWrapper(PooledDatabaseMixin, base.DatabaseWrapper):
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    has_transaction_mode = True

    def make_dialect(self, config: PoolConfig, open_session: Callable[..., Any]) -> DriverDialect:
        from pooldaemon.pool.drivers.mysql.dialect import MySQLDialect  # noqa: PLC0415 - see preload()

        return MySQLDialect(
            open_session,
            ping_after=config.ping_after,
            mode=config.mode,
            reset=config.reset,
            hidden_code=config.hidden_code,
            autocommit=self.settings_dict["AUTOCOMMIT"],
            connect_timeout=self.settings_dict["OPTIONS"].get("connect_timeout", CONNECT_TIMEOUT),
            init_command=self.settings_dict["OPTIONS"].get("init_command", ""),
            password_provider=config.password_provider,
        )

    def preload(self) -> None:
        super().preload()
        import_module("pooldaemon.pool.drivers.mysql.dialect")

    def check_password_provider(self) -> None:
        where, options = f"DATABASES[{self.alias!r}]", self.settings_dict["OPTIONS"]
        places = [f"['OPTIONS'][{key!r}]" for key in ("password", "passwd") if key in options]
        if self.settings_dict["PASSWORD"]:
            places.append("['PASSWORD']")
        if places:
            raise ImproperlyConfigured(
                f"{where}{places[0]} is set, and so is {where}['OPTIONS']['pool']"
                f"['password_provider'], which returns the password. Remove {places[0]}."
            )

    def historic_settings(self) -> dict[str, tuple[str, Any]]:
        return historic_settings()

    def get_connection_params(self) -> dict[str, Any]:
        return {"connect_timeout": CONNECT_TIMEOUT, **super().get_connection_params()}

    def _open_session(self, **parameters: Any) -> Any:
        with bound_opening(self.get_connection_params()["conv"]) as converters:
            return super()._open_session(conv=converters, **parameters)

    @cached_property
    def mysql_server_data(self) -> dict[str, Any]:
        """The server's version and settings, queried once per pool instead of once per thread."""
        if (pool := self.pool) is None:
            return super().mysql_server_data
        if "mysql_server_data" not in pool.facts:
            self.ensure_connection()  # which may query them
        if (data := pool.facts.get("mysql_server_data")) is None:
            setting_up = (
                nullcontext()
                if self._transaction_lease
                else lease.physical(self.connection).not_recorded()
            )
            with setting_up:
                data = pool.facts["mysql_server_data"] = super().mysql_server_data
        return data
