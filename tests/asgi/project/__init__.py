"""A small project under ASGI: every way in which an async view may come to the database."""
