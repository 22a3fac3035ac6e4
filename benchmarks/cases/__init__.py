"""One module per case, each with ``run(bench)``."""
