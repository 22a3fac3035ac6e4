"""What every process of a server does with the database. Each statement names its sender."""

import os
import threading
import time

from django.db import connection, transaction

from pooldaemon import auto_close_db


def ask() -> None:
    sender = f"pid={os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [sender])
        assert cursor.fetchone() == (sender,)


def write() -> None:
    """Two rows, or none."""
    ask()
    with transaction.atomic(), connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("INSERT INTO units (sender) VALUES (%s)", [f"pid={os.getpid()}"])


def stay_busy() -> None:
    """What a parent does that has used the database, and still does, when it forks."""
    ask()  # in this thread, which keeps the connection
    threading.Thread(target=_keep_asking, daemon=True).start()


def _keep_asking() -> None:
    while True:
        with auto_close_db():
            ask()
        time.sleep(0.002)
