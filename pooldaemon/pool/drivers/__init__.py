"""What a pool must know of a driver: how a session is opened, checked, reset and closed."""
