"""The scratch database of MySQL's tests."""

from tests.mysql.conftest import scratch, session_scratch

__all__ = ["scratch", "session_scratch"]
