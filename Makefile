# The commands of this house. `make` alone lists them.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Wheels only: building a package would run its code, with build tools that no lock holds.
LOCKED := --require-hashes --only-binary :all: -r
# Nothing published after this day enters a lock: at least a week old when it is moved on.
LOCK_BEFORE := 2026-11-14
LOCK_VENV := .env-lock
LOCK := $(LOCK_VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock" --exclude-newer $(LOCK_BEFORE)

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

.PHONY: demo
demo: $(VENV)/.demo ## install Fastness and show it on a real model
	$(BIN)/fastness demo

.PHONY: up
up: $(VENV)/.demo ## serve from the home folder (after `fastness init`)
	$(BIN)/fastness up

.PHONY: test
test: $(VENV)/.test ## run the whole suite
	$(BIN)/python -m pytest

.PHONY: check
check: $(VENV)/.test ## format, lint, types and the rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/house.py --check src/fastness
	$(BIN)/python -m pytest -q tests/house

.PHONY: format
format: $(VENV)/.test ## format and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(VENV)/.test ## run every comparison under benchmarks
	@failed=0; for file in benchmarks/[!_]*.py; do \
		[ -e "$$file" ] || continue; \
		printf '\n== %s\n' "$$file"; $(BIN)/python "$$file" || failed=1; \
	done; exit $$failed

.PHONY: fuzz
fuzz: $(VENV)/.test ## run the property tests with many more examples (FUZZ_EXAMPLES), after a parser changed
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-5000} $(BIN)/python -m pytest -q --timeout 0 tests/property

.PHONY: lock
lock: $(LOCK_VENV)/.uv ## make the hash-locked requirements again
	$(LOCK) --group build pyproject.toml --extra test -o requirements/test.txt
	$(LOCK) --group build pyproject.toml --extra all -c requirements/test.txt -o requirements/demo.txt
	$(LOCK) --group build pyproject.toml -c requirements/test.txt -o requirements/base.txt
	$(LOCK) requirements/lock.in -o requirements/lock.txt

.PHONY: clean
clean: ## remove what was installed and built; the home folder stays
	rm -rf $(VENV) $(LOCK_VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what stands behind them ---------------------------------------------------------------------------------------
# A stamp is newer than the lock that it was installed from. The test requirements hold all of the demo's, in the same
# versions, so a test environment serves the demo too.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fastness needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (on Debian: python3-venv)"; exit 1; }

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(BIN)/python
	@echo "installing $<"
	$(PIP) install $(LOCKED) $<
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.test: requirements/test.txt pyproject.toml | $(BIN)/python
	@echo "installing $<"
	$(PIP) install $(LOCKED) $<
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.demo

$(LOCK_VENV)/.uv: requirements/lock.txt
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) $<
	touch $@
