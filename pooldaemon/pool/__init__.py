"""Pools of physical connections: SQLAlchemy's machinery over a DB-API driver.

Imports nothing of Django's ORM. The rest of the project reaches it through
:mod:`pooldaemon.connections` and the backends.
"""
