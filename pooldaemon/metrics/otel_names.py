"""Names of the semantic conventions.

Those of connection pools are in development still, so the package with the conventions' names has
them in a part that may change with any release: they are written down here.
"""

SCOPE = "pooldaemon"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions from which the names are."""

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"
