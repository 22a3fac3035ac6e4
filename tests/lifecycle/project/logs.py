"""A formatter of the project's own."""

import json
import logging

FIELDS = ("process", "daemon_name", "daemon_worker", "daemon_unit", "name")


class JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        values = {field: getattr(record, field) for field in FIELDS}
        return json.dumps({**values, "message": record.getMessage()})
