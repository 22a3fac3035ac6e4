"""Names of OpenTelemetry's semantic conventions.

Those for connection pools are still in development, and the package with the conventions' names may
change them in any release. So they are copied here.
"""

SCOPE = "pooldaemon"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions that has these names."""

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"
