# `make` alone lists the targets. Everything is installed into .venv from the hashed lock files.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
SETUP  := $(VENV)/.set-up
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Idle OpenMP threads that spin take the second core away from everybody else.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help run test truth warnings torture protections bench bench-ingest chromium up screenshots lint lock sources policy-page clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

$(SETUP): requirements-uv.lock requirements.lock requirements-data.lock pyproject.toml
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "The lock files are for Python 3.11; found " + sys.version)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-uv.lock
	@# Compiled now, or every later process pays for it.
	@uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements-data.lock
	@uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: $(SETUP) ## one whole night on the Taiwan card data, then where to look
	@creditloom night

test: $(SETUP) chromium ## the tests
	@pytest

truth: $(SETUP) ## minutes: the model finds the truth of a long simulated book again; a dirty year adds up
	@pytest -n 0 -m long tests/integration/test_truth.py tests/integration/test_planted.py tests/integration/test_simulated.py

torture: $(SETUP) ## the long torture suite: kills, floods and full disks by the hundred (SEED=7 for another)
	@pytest -n 0 -m long tests/torture tests/sql/test_incremental_build.py tests/integration/test_backfill.py tests/integration/test_replay.py

protections: $(SETUP) ## minutes: remove each promise's protection, and check that its test fails: docs/promises.md
	@python tools/protections.py

warnings: $(SETUP) ## minutes: early warnings on twenty books with a planted segment, and on twenty clean ones
	@pytest -n 0 -m long tests/integration/test_early_warning_books.py

# Sizes of the benchmarks' books, in loans.
LOANS ?= 10000 100000 1000000

bench: $(SETUP) ## whole nights beside the bare work in them: docs/performance.md (LOANS="10000 100000" for less)
	@python benchmarks/run.py --loans $(LOANS)

bench-ingest: $(SETUP) ## 1 GB of payments taken in, beside a bare scan of it: docs/performance.md
	@python benchmarks/ingest.py

chromium: # the browser tests drive Debian's; without it they are skipped
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "Installing chromium ..." && apt-get update >/dev/null 2>&1 && apt-get install -y --no-install-recommends chromium >/dev/null 2>&1; } \
	  || echo "No chromium, and it cannot be installed here: the browser tests will be skipped."

up: $(SETUP) ## the Dagster UI, the Dagster daemon and the MLflow UI, until Ctrl-C
	@creditloom up

screenshots: $(SETUP) chromium ## the pictures of the README, from running systems
	@python tools/screenshots.py

lint: $(SETUP) ## style, SQL, types, layers, Dagster definitions
	ruff check .
	ruff format --check .
	sqlfluff lint --processes 2 dbt
	mypy
	lint-imports
	dg check defs

sources: $(SETUP) ## write dbt's source file from the canonical tables
	@python -m dagster_project.ingestion.contracts.dbt_sources

policy-page: $(SETUP) ## write docs/policy.md from the model of the policy
	@python -m dagster_project.policy.page

lock: $(SETUP) ## resolve the lock files
	@for name in requirements requirements-data requirements-uv; do \
	  uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-header \
	    $$( [ $$name = requirements-data ] && echo --no-deps ) $$name.in -o $$name.lock; \
	done

clean: ## remove the environment, the local data folder, its keys and its backups
	rm -rf $(VENV) .creditloom .creditloom-keys .creditloom-backups
