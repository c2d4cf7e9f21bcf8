# Every target sets up what it needs, on a bare machine with Python 3.11+, make and the network.
PYTHON ?= python3
BIN := .venv/bin
IMAGES ?=
# Two processes keep two cores busy: three and four took as long, and servers answered pings too
# late. Each has servers of its own, of 1 to 1.5 GB.
TEST_PROCESSES ?= 2
# Options of pytest for `make test`, such as folders to leave out.
TEST_OPTIONS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header
# Celery's command line is in no image. Its shell needs three packages.
SHELL_PACKAGES := click-repl prompt-toolkit wcwidth
COMPILE_IMAGE := $(COMPILE) --python-version 3.13 --constraint constraints/dev.txt $(SHELL_PACKAGES:%=--no-emit-package %)

.PHONY: help setup demo up test check docs bench bench-peers guard chaos dist clean constraints

help:
	@echo "make demo [IMAGES=...]  images through the whole pipeline, on real Redis and real Triton"
	@echo "make up                 the same stack, until Ctrl-C"
	@echo "make test | check       every test | style, types, imports, Lua, manifests"
	@echo "make docs               the documents as a site, on http://127.0.0.1:8000, until Ctrl-C"
	@echo "make chaos              ten minutes of damage to the live stack, and a check of every promise and alert"
	@echo "make bench              timings, as ratios to a baseline"
	@echo "make bench guard        the speed beside the committed figures, and what fell"
	@echo "make bench-peers        the service beside LitServe, BentoML, Celery and Ray Serve"
	@echo "make dist               wheel, source distribution and bills of materials in dist/, each checked"
	@echo "make clean              remove everything that these targets made"

# Installs the pinned packages, then this checkout. The stamp is written last, so that an
# interrupted set-up is done again.
.venv/.stamp: constraints/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or later; try make PYTHON=python3.12")'
	@echo "making .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes --only-binary :all: -r constraints/dev.txt
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

# kubectl, a browser's driver, and the documents' site have 150 MB. Only checks and tests need them,
# so no demo waits for them.
.venv/.stamp-checks: .venv/.stamp constraints/checks.txt
	@$(PIP) install --require-hashes --only-binary :all: -r constraints/checks.txt
	@touch $@

# The page and its browser's tests have an environment of their own.
.venv/.stamp-ui: .venv/.stamp sluice/local/servers/ui.txt
	@$(BIN)/sluice setup --ui
	@touch $@

setup: .venv/.stamp
	@$(BIN)/sluice setup

demo: setup
	@$(BIN)/sluice demo $(IMAGES)

up: setup
	@$(BIN)/sluice up

# The tests of a file stay in one process, since they share servers. Containers are started once.
test: setup .venv/.stamp-checks .venv/.stamp-ui
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --ignore tests/e2e $(TEST_OPTIONS)
	@$(BIN)/python -m pytest tests/e2e

check: .venv/.stamp-checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python -m pytest -q tests/k8s tests/unit/redisio/test_lua.py

docs: .venv/.stamp-checks
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --strict

chaos: setup .venv/.stamp-checks
	@$(BIN)/python -m tests.chaos --seconds 300
	@$(BIN)/python -m tests.chaos --sentinel
	@SLUICE_DAMAGE=1 $(BIN)/python -m pytest tests/integration/test_monitoring.py

# `make bench guard` compares with the committed figures, and measures nothing else.
bench: setup
	@$(BIN)/python -m benchmarks $(filter guard,$(MAKECMDGOALS))

guard: bench
	@:

# The peers have an environment of their own, which the first run makes.
bench-peers: setup
	@$(BIN)/python -m benchmarks peers

dist: setup .venv/.stamp-checks
	@$(BIN)/python -m tools.release

clean:
	rm -rf .venv .venv-triton .venv-triton.lock .venv-ui .venv-ui.lock .venv-peers .venv-peers.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output build dist

# Run this after a change of the dependencies, and read the difference: the images install what the
# tests ran with. It needs uv.
constraints:
	$(COMPILE) --python-version 3.11 --extra local --extra s3 --extra dev pyproject.toml --output-file constraints/dev.txt
	$(COMPILE_IMAGE) --extra api --extra otlp --extra ed25519 --extra s3 pyproject.toml --output-file constraints/api.txt
	$(COMPILE_IMAGE) --extra worker --extra otlp --extra ed25519 --extra s3 pyproject.toml --output-file constraints/worker.txt
	$(COMPILE_IMAGE) --extra models --extra s3 pyproject.toml --output-file constraints/cli.txt
	$(COMPILE) --python-version 3.11 --constraint constraints/dev.txt --extra checks --extra otlp --extra docs pyproject.toml --output-file constraints/checks.txt
	$(COMPILE) --python-version 3.11 --extra ui pyproject.toml --output-file sluice/local/servers/ui.txt
	$(COMPILE) --python-version 3.11 benchmarks/peers/peers.in --output-file benchmarks/peers/peers.txt
	echo hatchling | $(COMPILE_IMAGE) - --output-file constraints/build.txt
