"""``ENGINE = "pooldaemon.backends.mysql"``."""
