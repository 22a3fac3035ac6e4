"""Which of this process's sessions were ended by somebody else."""

import os
import select
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection


class Sessions:
    """Watches every session that the driver opens and closes, whatever pool is in front.

    Create one before the first connect. What children do to their copies does not count.

    :ivar open: by the server's numbers.
    :ivar ended: those that this process closed when they had ended already.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.open: set[int] = set()
        self.ended: set[int] = set()
        opening, closing = Connection.__init__, Connection.close

        def open_session(connection: Any, *args: Any, **kwargs: Any) -> None:
            opening(connection, *args, **kwargs)
            connection.session = connection.thread_id()
            self.open.add(connection.session)

        def close_session(connection: Any) -> None:
            if self._pid == os.getpid():
                if _was_ended(connection):
                    self.ended.add(connection.session)
                self.open.discard(connection.session)
            closing(connection)

        Connection.__init__, Connection.close = open_session, close_session


def _was_ended(connection: Any) -> bool:
    try:
        descriptor = connection.fileno()
    except MySQLdb.Error:  # the driver has given up, and closed it
        return True
    # The server never speaks first: on an idle session there is something to read when it ends.
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
