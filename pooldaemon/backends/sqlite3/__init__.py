"""``ENGINE = "pooldaemon.backends.sqlite3"``."""
