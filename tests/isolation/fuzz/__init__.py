"""Statements made at random, fast, and a server that says what they have left on its session."""
