"""``ENGINE = "pooldaemon.backends.sqlite3"``: the embedded default."""
