PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Build .venv with the pinned development environment

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: setup  ## Train, interrupt, resume, evaluate and predict on real handwritten digits
	$(BIN)/python recipes/digits.py --model-dir runs/digits --fresh

test: setup  ## Run the tests
	$(BIN)/python -m pytest

lint: setup  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## Format the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

bench: setup  ## Measure speed against a bare loop and the peers, as ratios
	$(BIN)/python -m tests.benchmarks

clean:  ## Remove the environment, caches and runs
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache
