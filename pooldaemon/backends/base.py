"""Pooling for one of Django's database backends, as a mixin over its ``DatabaseWrapper``.

Public: it goes over any backend whose driver has a dialect (:mod:`pooldaemon.pool.drivers.base`).
For MySQL, combine :class:`pooldaemon.backends.mysql.base.DatabaseWrapper` with a backend that
extends Django's, such as GeoDjango's, or with a wrapper that collects metrics.

In session mode a thread keeps the connection that it borrowed until ``close()``, which Django calls
at the end of every request and :func:`pooldaemon.auto_close_db` at the end of every unit of work.
In transaction mode the ``connection`` borrows by itself, for a statement or a transaction: see
:mod:`pooldaemon.pool.drivers.mysql.transaction`.
"""

from __future__ import annotations

import _thread
import copy
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from pooldaemon.backends.chosen import check_thread, chosen
from pooldaemon.backends.greenlets import check_patches
from pooldaemon.backends.interpreter import check_interpreter
from pooldaemon.exceptions import ImproperlyConfigured, PoolError, PoolRetired
from pooldaemon.pool import fork_safety
from pooldaemon.pool.config import PoolConfig, read_pool_config
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.drivers.credentials import Credentials
from pooldaemon.pool.queue import lease
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.limiter import ConnectionLimiter
from pooldaemon.pool.registry import ManagedPool, PoolKey, registry
from pooldaemon.pool.tokens import clear_frames

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from pooldaemon.pool.drivers.mysql.transaction import TransactionLease
else:
    BaseDatabaseWrapper = object


logger = logging.getLogger("pooldaemon.pool")

_wrappers: weakref.WeakSet[PooledDatabaseMixin] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for wrapper in list(_wrappers):
        wrapper.leave_to_parent()


fork_safety.at_start_of_child(_leave_all_to_parent)


@receiver(setting_changed)
def _look_again(*, setting: str, **kwargs: Any) -> None:
    """Tests may change settings, such as the limits for all pools."""
    if setting == "POOLDAEMON":
        registry.forget_process_settings()


class PooledDatabaseMixin(BaseDatabaseWrapper):
    """Borrow the physical connection from a pool instead of opening it.

    Like every wrapper of Django's, one object serves one thread; the pool behind it serves all.
    """

    Database: Any
    _thread_ident: int

    has_transaction_mode = False
    """Whether the backend's dialect has ``begin_transaction_lease()``."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self._borrowed: Lease | None = None
        self._transaction_lease: TransactionLease | None = None
        """Instead of ``_borrowed``, in transaction mode."""
        self._lender: ManagedPool
        self._lender_epoch: int
        self._is_shared = False
        """Django lets several threads use this wrapper (``allow_thread_sharing``)."""
        _wrappers.add(self)
        self._known_pool: tuple[int, dict[str, Any], ManagedPool | None] | None = None

    # -- what a backend defines -------------------------------------------------------

    def make_dialect(self, config: PoolConfig, open_session: Callable[..., Any]) -> DriverDialect:
        """The dialect by which the pool handles connections of this driver.

        :param open_session: opens a connection. Its keyword arguments, such as ``password``, are
            connection parameters that override those of the settings.
        """
        raise NotImplementedError("a pooled backend must define make_dialect()")

    def is_poolable(self) -> bool:
        """Whether connections of this wrapper may be pooled at all."""
        return self.alias != NO_DB_ALIAS

    def historic_settings(self) -> dict[str, tuple[str, Any]]:
        """Defaults for ``OPTIONS["pool"]`` from other settings: by key, setting and value."""
        return {}

    def check_password_provider(self) -> None:
        """:raises ImproperlyConfigured: other settings contradict a ``password_provider``."""
        raise ImproperlyConfigured(
            f"DATABASES[{self.alias!r}]['OPTIONS']['pool']['password_provider'] is set, but "
            f"{self.display_name} has no passwords. Remove it."
        )

    # -- the pool ---------------------------------------------------------------------

    @property
    def pool(self) -> ManagedPool | None:
        """The pool that serves the present settings; ``None`` where nothing is pooled.

        :raises ImproperlyConfigured: the settings are wrong; the message says which.
        """
        known, now = self._known_pool, self.settings_dict
        if known is not None and known[0] == registry.epoch and known[1] == now:
            return known[2]
        epoch = registry.epoch
        pool = self._find_pool()
        # A copy, to be compared: settings are changed in place, for instance by tests.
        options = {name: copy.copy(value) for name, value in now["OPTIONS"].items()}
        self._known_pool = (epoch, now | {"OPTIONS": options}, pool)
        return pool

    def preload(self) -> None:
        """See :func:`pooldaemon.connections.preload`."""
        if (config := self.check_pool_settings()) is not None:
            _ = config.poolclass  # imports it

    def check_pool_settings(self) -> PoolConfig | None:
        """Check the settings without connecting. Returns ``None`` if nothing is pooled.

        :raises ImproperlyConfigured: a setting is wrong; the message names it, its value, and what
            is valid.
        """
        config = self._read_pool_config()
        if config is None or not self.is_poolable():
            return None
        check_interpreter()
        check_patches()
        if config.mode == "transaction" and not self.has_transaction_mode:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['pool']['mode'] is 'transaction', which "
                f"{type(self).__module__} does not support: it can't see what is left on "
                "a session. Valid: 'session'."
            )
        if (max_age := self.settings_dict["CONN_MAX_AGE"]) != 0:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['CONN_MAX_AGE'] is {max_age!r}; with a pool it must be "
                "0, or each thread keeps its connection from the others. The pool keeps them open."
            )
        return config

    def _read_pool_config(self) -> PoolConfig | None:
        options = self.settings_dict["OPTIONS"]
        if "password_provider" in options:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['password_provider'] must be inside "
                "['OPTIONS']['pool']. To use one without pooling, set 'poolclass' to 'NullPool'."
            )
        config = read_pool_config(self.alias, options.get("pool"), self.historic_settings())
        if config is not None and config.password_provider is not None:
            self.check_password_provider()
        return config

    def _find_pool(self) -> ManagedPool | None:
        if (config := self.check_pool_settings()) is None:
            return None
        config = registry.limited(self.alias, config)
        settings = self.settings_dict
        options = {name: value for name, value in settings["OPTIONS"].items() if name != "pool"}
        account = PoolKey(type(self), self.get_connection_params(), options, settings["AUTOCOMMIT"])
        build = partial(self._build_pool, account)
        pool = registry.get(PoolKey(config, account), config, build)
        registry.introduce(pool, self.alias)
        return pool

    def _build_pool(
        self, account: PoolKey, config: PoolConfig, limiter: ConnectionLimiter
    ) -> ManagedPool:
        # The pool opens its sessions with a wrapper of its own: this one belongs to a thread, and
        # its settings may change.
        settings = self.settings_dict
        opener = type(self)({**settings, "OPTIONS": dict(settings["OPTIONS"])}, self.alias)
        dialect = self.make_dialect(config, opener._open_session)
        dialect.account = hash(account)
        return ManagedPool(self._pool_name(), config, dialect, limiter)

    @contextmanager
    def password_in_settings(self) -> Iterator[None]:
        """Put the provider's password in the settings, for client programs that get it from there.

        :raises PasswordProviderError: the provider returns none.
        """
        settings, config = self.settings_dict, self._read_pool_config()
        if config is not None and config.password_provider is not None:
            password = Credentials(config.password_provider).password(self._pool_name())
            self.settings_dict = {**settings, "PASSWORD": password}
        try:
            yield
        finally:
            self.settings_dict = settings

    def _pool_name(self) -> str:
        settings = self.settings_dict
        user, host, port = settings["USER"], settings["HOST"] or "localhost", settings["PORT"]
        server = f"{user}@{host}{f':{port}' if port else ''}/" if user else ""
        name = f"{self.vendor} {server}{settings['NAME'] or ''}"
        # It is shown on terminals, where control characters would act.
        return name if name.isprintable() else repr(name)[1:-1]

    def _open_session(self, **parameters: Any) -> Any:
        return super().get_new_connection(self.get_connection_params() | parameters)

    # -- Django's contract ------------------------------------------------------------

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params.pop("pool", None)
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self._borrowed is not None:
            return self._borrowed
        config = None if self.is_poolable() else self._read_pool_config()
        if config is None or config.password_provider is None:
            return super().get_new_connection(conn_params)
        connect = super().get_new_connection
        return Credentials(config.password_provider).log_in(
            lambda **login: connect(conn_params | login), self._pool_name()
        )

    # Called for every statement. Django's own method first takes a lock, to ask whether threads may
    # share the wrapper.
    def validate_thread_sharing(self) -> None:
        if self._thread_ident != _thread.get_ident():
            super().validate_thread_sharing()

    # Without @async_unsafe, which all callers have; it would cost as much as the borrow.
    def connect(self) -> None:  # noqa: C901 - calls of further functions would slow it down
        try:
            if not fork_safety.ours[0]:
                fork_safety.check()
            if chosen.get():
                check_thread(self)
            if (pool := self.pool) is None:
                super().connect()
                registry.session_opened(self, self.connection)
            else:
                try:
                    borrowed = pool.borrow()
                except PoolRetired:
                    self._known_pool = None
                    self.connect()
                    return
                is_set_up = "is_set_up" in lease.notes(borrowed)
                if not is_set_up:
                    self._set_up(borrowed, pool)
                if pool.config.mode == "transaction":
                    self._begin_turns(borrowed, pool)
                else:
                    self._borrowed = borrowed
                if is_set_up:
                    self._take_over(
                        borrowed
                        if self._transaction_lease is None
                        else self._transaction_lease.connection
                    )
                    if connection_created.receivers:
                        self._say_connected(borrowed, pool)
            if self._is_shared:
                self._share()
        except BaseException as error:
            # A signal handler may raise one at any line.
            borrowed = None
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """Return a borrowed connection that could not be set up for this wrapper."""
        if self._borrowed is not None or self._transaction_lease is not None:
            self._close()
            self.connection = None
        clear_frames(error)

    def _begin_turns(self, borrowed: Lease, pool: ManagedPool) -> None:
        self._lender, self._lender_epoch = pool, registry.epoch
        self._borrowed = None
        self._transaction_lease = pool.dialect.begin_transaction_lease(
            self._borrow_set_up, borrowed
        )
        self.connection = self._transaction_lease.connection

    def _say_connected(self, borrowed: Lease, pool: ManagedPool) -> None:
        """Send ``connection_created`` for this wrapper; the session had it when it was set up."""
        send = partial(connection_created.send, sender=type(self), connection=self)
        transaction_lease = self._transaction_lease
        try:
            if transaction_lease is not None:  # all receivers get the same session
                transaction_lease.hold()
            pool.dialect.repeat_set_up(lease.physical(borrowed), send)
            if transaction_lease is not None:
                transaction_lease.let_go()
        except BaseException:
            try:
                self._close()
            finally:
                self.connection = None
            raise
        self.run_on_commit = []

    def _set_up(self, borrowed: Lease, pool: ManagedPool) -> None:
        """Set up a new session as Django does."""
        self._borrowed = borrowed
        try:
            physical = lease.physical(borrowed)
            with pool.dialect.setting_up(physical):
                super().connect()
                registry.session_opened(self, physical)
                pool.dialect.session_is_set_up(physical)
            lease.notes(borrowed)["is_set_up"] = True
            self._warm_up(pool)
        except BaseException:
            # A session that is set up in part can't be used.
            self._borrowed = self.connection = None
            lease.discard(borrowed)
            raise

    def _borrow_set_up(self) -> Lease:
        """Borrow a connection whose session is set up. In transaction mode."""
        if self._lender_epoch != registry.epoch:
            self._find_lender()
        try:
            borrowed = self._lender.borrow()
        except PoolRetired:
            self._known_pool = None
            self._find_lender()
            return self._borrow_set_up()
        if "is_set_up" not in lease.notes(borrowed):
            # Another wrapper does that: this one may be in the middle of something.
            other = type(self)(self.settings_dict, self.alias)
            other._set_up(borrowed, self._lender)
            other._borrowed = other.connection = None
        return borrowed

    def _find_lender(self) -> None:
        # Once per unit of work, unless the pool is retired: new settings are for the next unit.
        if (pool := self.pool) is None:
            raise PoolError(f"the pool of {self.alias!r} was switched off in a unit of work")
        self._lender, self._lender_epoch = pool, registry.epoch

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """In transaction mode, keep one session for all statements of the ``with`` block.

        If the session then has state that a later statement could miss, the thread keeps it until
        the end of its unit of work, as always. ``close()`` ends the pin. In session mode, and
        without a pool, this does nothing.
        """
        self.ensure_connection()
        if (transaction_lease := self._transaction_lease) is None:
            yield
            return
        transaction_lease.hold()
        try:
            yield
        finally:
            transaction_lease.let_go()

    def inc_thread_sharing(self) -> None:
        super().inc_thread_sharing()
        self._is_shared = True
        self._share()

    def _share(self) -> None:
        if self._transaction_lease is not None:
            self._transaction_lease.share()
        elif self._borrowed is not None:
            lease.share(self._borrowed)

    def dec_thread_sharing(self) -> None:
        super().dec_thread_sharing()
        self._is_shared = self.allow_thread_sharing

    def _warm_up(self, pool: ManagedPool) -> None:
        """With a pool's first connection, open the others of ``min_idle``."""
        mark = object()
        if pool.min_idle < 2 or pool.facts.setdefault("warmed", mark) is not mark:
            return
        settings = self.settings_dict
        others = [type(self)(settings, self.alias) for _ in range(pool.min_idle - 1)]
        try:
            for other in others:
                if pool.has_room:  # else a borrower might have to wait for this one
                    other.ensure_connection()
        except DatabaseError as error:
            logger.warning("Can't open min_idle=%d connections: %s", pool.min_idle, error)
        finally:
            for other in others:
                other.close()

    def _take_over(self, borrowed: Any) -> None:
        """Put the wrapper in the state that Django's ``connect()`` leaves it in."""
        self.in_atomic_block = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.needs_rollback = False
        self.health_check_enabled = self.settings_dict["CONN_HEALTH_CHECKS"]
        self.close_at = 0.0  # CONN_MAX_AGE is 0: return it at the end of the request
        self.closed_in_transaction = False
        self.errors_occurred = False
        self.health_check_done = True
        self.connection = borrowed
        self.autocommit = self.settings_dict["AUTOCOMMIT"]
        self.run_commit_hooks_on_set_autocommit_on = False
        self.run_on_commit = []

    @property
    def borrowed_since(self) -> float | None:
        """When its connection was borrowed (monotonic clock); ``None`` if it has none or the pool
        does not know."""
        borrowed = (
            self._borrowed if self._transaction_lease is None else self._transaction_lease.borrowed
        )
        return None if borrowed is None else lease.borrowed_since(borrowed)

    def leave_to_parent(self) -> None:
        """In a forked child: let go of what this wrapper has borrowed, which is the parent's."""
        borrowed, self._borrowed = self._borrowed, None
        if borrowed is not None:
            lease.abandon(borrowed)
        elif self._transaction_lease is not None and self._transaction_lease.leave_to_parent():
            self._transaction_lease = None
        else:
            return
        if self.in_atomic_block:
            # As after a close() inside the block: no query until its end, then a new session.
            self.closed_in_transaction = True
        else:
            self.connection = None

    def close_if_unusable_or_obsolete(self) -> None:
        if self._borrowed is None and self._transaction_lease is None:
            super().close_if_unusable_or_obsolete()
        else:  # the pool decides whether to keep it
            self.close()

    def _close(self) -> None:
        if self._borrowed is None and self._transaction_lease is None:
            super()._close()  # type: ignore[misc]
            return
        try:
            self._end_borrow()
        except BaseException as error:  # perhaps a signal handler's: end the borrow all the same
            self._end_borrow()
            clear_frames(error)
            raise

    def _end_borrow(self) -> None:
        if (borrowed := self._borrowed) is not None:
            lease.return_connection(borrowed)
            self._borrowed = None
        elif (transaction_lease := self._transaction_lease) is not None:
            transaction_lease.end()
            self._transaction_lease = None

    def close_remains(self) -> None:
        """End a borrow that Django does not know of, because an exception ended ``close()``."""
        if self.connection is None:
            self._end_borrow()
