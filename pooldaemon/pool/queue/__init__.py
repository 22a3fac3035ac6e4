"""The pool itself: entries under a cap, and a queue of those who wait. Knows no driver."""
