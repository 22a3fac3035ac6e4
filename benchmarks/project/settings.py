"""The example's settings, with a page of our own."""

from pooldaemon_example.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.project.wsgi"
