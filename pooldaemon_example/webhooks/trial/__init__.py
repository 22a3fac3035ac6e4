"""The parts of the `demo` command."""
