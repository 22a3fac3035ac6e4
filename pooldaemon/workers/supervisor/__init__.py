"""Runs in the parent process: starts workers, watches them, replaces them, reloads."""
