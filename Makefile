# For research use; not a medical device.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)/data/dagster
export BENTOML_HOME ?= $(CURDIR)/data/bentoml
export BENTOML_DO_NOT_TRACK := true
export DAGSTER_DISABLE_TELEMETRY := yes

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast lint format ui serve bench lock clean

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: install Python 3.11, or name it by make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed ## make .venv and install the locked packages

run: install ## bring the pipeline up to date, from raw images to a packaged model
	@$(BIN)/cxr run

test: install ## run every test that this machine can
	@command -v chromium >/dev/null || echo "chromium is not here: its tests are skipped (Debian: apt-get install chromium)"
	$(BIN)/python -m pytest

test-fast: install ## run the tests that take less than ten seconds each
	$(BIN)/python -m pytest -m "not slow and not browser and not real_data"

lint: install ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## put the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: install ## the Dagster UI with its daemon, on http://127.0.0.1:3000
	@$(BIN)/python -c "from cxr_assets.home import ensure_dagster_home; ensure_dagster_home()"
	$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000

serve: install ## the prediction service of the released model, on http://127.0.0.1:3001
	@$(BIN)/cxr serve --port 3001

bench: install ## measure the benchmarks; one line each, and benchmarks/latest.json
	$(BIN)/python -m benchmarks

lock: ## renew requirements.lock from pyproject.toml in a fresh environment
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet setuptools ".[dev]"
	.venv-lock/bin/python -m pip check
	.venv-lock/bin/python -m pip freeze --all --exclude cxr --exclude pip > requirements.lock
	rm -rf .venv-lock

clean: ## remove caches and build leftovers; data and environment stay
	rm -rf build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -type d -exec rm -rf {} +
