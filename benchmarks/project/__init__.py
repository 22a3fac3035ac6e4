"""Django projects for everything that runs one in worker processes."""

DATABASE = "BENCHMARK_DATABASE"
"""Names the variable with the database's settings, as JSON, for the page of notes."""
