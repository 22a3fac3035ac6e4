#!/usr/bin/env python3
"""Compare pooldaemon with the alternatives, side by side in one run.

    benchmarks/run.py                      every case, on the server of DATABASE_URL
    benchmarks/run.py hot_cycle fairness   these cases only
    benchmarks/run.py --quick              short, to see that everything runs; figures mean little

Results go to benchmarks/results/ as CASE-SERVER.json, .rst and .svg.
"""

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    # As a script its own directory is on the path, and the repository's is not.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(import_module("benchmarks.main").main(sys.argv[1:]))
