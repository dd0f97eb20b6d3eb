# Two commands on a fresh machine with Python 3.11: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= build/demo
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test test-kafka check bench quality protos clean
.DEFAULT_GOAL := help

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# Stamps: what is installed is installed again only when what it is made from has changed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "feedmesh needs Python 3.11 or later; set PYTHON=/path/to/python"; exit 2; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing feedmesh and what it needs (once)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing feedmesh and its development tools (once)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/run.stamp

demo: $(VENV)/run.stamp  ## Start the mesh on a world of its own and print a feed. ONCE=1 stops after it.
	@$(BIN)/feedmesh demo --data-dir $(DATA_DIR) $(if $(ONCE),--once)

test: $(VENV)/dev.stamp  ## Run the tests (ARGS= for pytest's arguments).
	@$(BIN)/pytest $(ARGS)

test-kafka: $(VENV)/dev.stamp  ## Run the log, the mesh and their faults on real Apache Kafka (Java 17 and Maven).
	@$(BIN)/python -m tests.kafka $(ARGS)

check: $(VENV)/dev.stamp  ## Lint, types, import contracts, freshness of generated code.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python protos/generate.py --check

bench: $(VENV)/dev.stamp  ## Run the benchmarks (ONLY=name for one); results in build/bench/.
	@$(BIN)/python -m tests.bench $(ONLY)

quality: $(VENV)/dev.stamp  ## Measure quality on real data (ONLY=name for one), through the services; docs/quality.md.
	@$(BIN)/python -m tests.quality $(ONLY) $(ARGS)

protos: $(VENV)/dev.stamp  ## Generate the code beside the protos again.
	@$(BIN)/python protos/generate.py

clean:  ## Remove everything that can be made again.
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
