# make figures    all paper figures and the validation table (QUICK=1: small presets)
# make test       the test suite
# make check      style, format, import contracts, types
# make bench      speed against the peers (JSON=1: also a file in benchmarks/results/)
# make clean      removes the environment and caches, keeps results and figures
#
# Each builds .venv first if it is missing. Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
QUICK_FLAG := $(if $(filter-out 0,$(QUICK)),--quick)

.PHONY: figures test check bench clean help
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

figures: $(VENV)/.installed
	$(BIN)/quadlaw figures $(QUICK_FLAG)
	$(BIN)/quadlaw validate $(QUICK_FLAG)

# The second run is of the engine as users compile it: see conftest.py.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/test_simulate_blocks.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks $(if $(filter-out 0,$(JSON)),--json)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "quadlaw needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	$(PIP) -c constraints.txt --upgrade pip
	$(PIP) -c constraints.txt --build-constraint constraints.txt -e '.[cluster]' --group dev
	@touch $@
