"""Django's own test suite on Django's backend and on ours, compared test by test."""
