"""A project whose only purpose is to be run as a daemon by the tests."""
