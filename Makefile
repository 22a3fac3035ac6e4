# `make` lists what can be made. Variables it listens to, from the command line or the environment:
#   DATABASE_URL=mysql://user:password@host/name   that database instead of our own
#   PYTHON=python3.12 VENV=.venv-3.12              another interpreter, in an environment of its own

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Set DATABASE_URL in the environment rather than here when its password holds a $.
ON_MYSQL := $(filter mysql://% mariadb://%,$(DATABASE_URL))
WITH_DATABASE := $(if $(DATABASE_URL),,$(BIN)/python scripts/throwaway_mariadb.py)

# Another interpreter or a changed setup.py: the environment is built anew.
INTERPRETER := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3] + sys.base_prefix.replace("/", "-"))')
ENVIRONMENT := $(VENV)/.python-$(INTERPRETER)

test-again: mysql-server $(VENV)/.with-test  ## with another PYTHON or DATABASE_URL, once `make test` has passed
	@$(WITH_DATABASE) $(BIN)/python scripts/run_tests.py --again

flakes: RUNS ?= 50
flakes: ARGS ?= tests/lifecycle --numprocesses=8

.NOTPARALLEL:
.SUFFIXES:
.PHONY: help demo test test-database test-again flakes lint format docs bench bench-check conformance wheel clean mysql-client mysql-server

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(if $(ON_MYSQL),mysql-client $(VENV)/.with-mysql) $(VENV)/.with-example  ## deliver the sample webhooks, on SQLite or DATABASE_URL
	@$(BIN)/python manage.py demo

test: mysql-server $(VENV)/.with-test lint  ## lint, then all tests, on a throw-away MariaDB or DATABASE_URL
	@$(WITH_DATABASE) $(BIN)/python scripts/run_tests.py

test-database: mysql-server $(VENV)/.with-test  ## only the tests that use the database
	@$(WITH_DATABASE) $(BIN)/python scripts/run_tests.py --database

flakes: mysql-server $(VENV)/.with-test  ## the daemon's tests RUNS=50 times, until one fails; ARGS="tests/lifecycle -k reload"
	@$(WITH_DATABASE) sh -c 'for run in $$(seq $(RUNS)); do \
		echo "run $$run of $(RUNS)"; $(BIN)/python -m pytest -q -x $(ARGS) || exit; done'

lint: $(VENV)/.with-lint  ## format, style, types, layers
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@output=$$($(BIN)/lint-imports --no-logo) || { echo "$$output"; exit 1; }
	@echo "lint: clean"

format: $(VENV)/.with-lint  ## put the source in order
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

docs: $(VENV)/.with-docs  ## the documentation, in docs/_build/html
	@$(BIN)/sphinx-build -W --keep-going -n -q -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

bench: mysql-server $(VENV)/.with-bench  ## compare with the alternatives; ARGS="fairness --quick"
	@$(WITH_DATABASE) $(BIN)/python benchmarks/run.py $(ARGS)

bench-check: mysql-client $(VENV)/.with-mysql  ## fail if the hot path has 5 % more instructions; ARGS=--write
	@scripts/system-packages instructions || true
	@$(BIN)/python benchmarks/instructions.py $(ARGS)

conformance: mysql-server $(VENV)/.with-conformance  ## Django's own tests on Django's backend and ours; ARGS="basic queries", ARGS=--resume
	@$(WITH_DATABASE) $(BIN)/python -m conformance $(ARGS)

wheel: $(ENVIRONMENT)  ## the wheel, in dist/
	@rm -rf build  # an old build/lib would end up in the wheel
	@$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:  ## remove all that was made here
	@rm -rf $(VENV) build dist docs/_build *.egg-info demo.sqlite3* .conformance .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
	@echo "clean"

mysql-client:
	@scripts/system-packages client

mysql-server:
	@scripts/system-packages client server

$(ENVIRONMENT): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pooldaemon needs Python 3.11 or newer, this is %s: make PYTHON=python3.x" % sys.version.split()[0])'
	@echo "Building $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.with-%: $(ENVIRONMENT)
	@echo "Installing pooldaemon[$*] into $(VENV)"
	@$(BIN)/pip install --quiet --editable '.[$*]'
	@touch $@
