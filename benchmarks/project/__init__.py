"""A Django project for everything that runs one in worker processes."""
