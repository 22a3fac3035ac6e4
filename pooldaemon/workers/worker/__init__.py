"""Runs in a worker process: its threads, their units of work, and its reports."""
