# Every target sets up what it needs, from a bare machine with Python 3.11+, make and the network.
PYTHON ?= python3
BIN := .venv/bin
IMAGES ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup demo up test check bench chaos clean constraints

help:
	@echo "make demo [IMAGES=...]  images through the whole pipeline, on real Redis and real Triton"
	@echo "make up                 the same stack, until Ctrl-C"
	@echo "make test | check       the tests | style, types, imports"
	@echo "make chaos              five minutes of damage to the live stack, and a check of every promise"
	@echo "make bench              timings, as ratios to a baseline"
	@echo "make clean              remove what these made"

# The pinned packages, then this checkout; the stamp is written last, so that an interrupted set-up is taken up again.
.venv/.stamp: constraints/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or later; try make PYTHON=python3.12")'
	@echo "making .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes --only-binary :all: -r constraints/dev.txt
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

setup: .venv/.stamp
	@$(BIN)/sluice setup

demo: setup
	@$(BIN)/sluice demo $(IMAGES)

up: setup
	@$(BIN)/sluice up

test: setup
	@$(BIN)/python -m pytest

check: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: setup
	@$(BIN)/python -m tests.chaos --seconds 300

bench: setup
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-triton .venv-triton.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output

# What is tested is what is installed: run this after a change of the dependencies, and read the difference. Needs uv.
constraints:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --extra local --extra dev pyproject.toml --output-file constraints/dev.txt
