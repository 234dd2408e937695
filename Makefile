# `make run` and `make test` need nothing but Python >= 3.10 (with venv and pip), make and git.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PYTEST := $(BIN)/python -m pytest
# Whatever the shell that types `make` has set for Raydeck or Ray must not change what a test sees.
CLEAN_ENVIRONMENT := env -u RAY_ADDRESS -u RAY_AUTH_MODE -u RAY_AUTH_TOKEN -u RAY_AUTH_TOKEN_PATH -u PYTHONPATH $(foreach v,$(filter RAYDECK_%,$(.VARIABLES)),-u $(v))

.PHONY: help run setup setup-tests test lint types imports unit lock docs screenshot test-ray test-browser test-versions test-scale test-faults bench clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: setup ## show the Ray cluster running here, else a demo cluster; options: make run ARGS="--port 0"
	@exec $(BIN)/python scripts/run.py $(ARGS)

setup: ## .venv and the browser files
	@$(PYTHON) scripts/setup.py

setup-tests:
	@$(PYTHON) scripts/setup.py --tests

# Long suites have targets of their own. What starts no Ray and no browser shares the cores; the others have the machine to themselves.
SHORT := not scale and not versions and not faults
QUICK := not ray and not browser and $(SHORT)
SIDE_BY_SIDE := -n 2 --dist loadfile

test: setup-tests lint types imports ## everything that must pass before landing
	$(CLEAN_ENVIRONMENT) $(PYTEST) $(SIDE_BY_SIDE) -m "$(QUICK)"
	$(CLEAN_ENVIRONMENT) $(PYTEST) -m "(ray or browser) and $(SHORT)"

lint: setup ## style and known mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup ## who may import whom
	$(BIN)/lint-imports --no-logo

unit: setup ## the quick tests only: no Ray cluster, no browser
	$(CLEAN_ENVIRONMENT) $(PYTEST) $(SIDE_BY_SIDE) -m "$(QUICK)" $(ARGS)

test-ray: setup-tests ## the tests that start a real Ray cluster
	$(CLEAN_ENVIRONMENT) $(PYTEST) -m "ray and not versions and not faults" $(ARGS)

test-browser: setup-tests ## the tests that look at pages in chromium
	$(CLEAN_ENVIRONMENT) $(PYTEST) -m "browser and not scale and not faults" $(ARGS)

test-versions: setup-tests ## Ray 2.53 and 2.60, default and minimal, dashboard on and off, token on and off
	@$(PYTHON) scripts/setup.py --tests --ray-versions
	$(CLEAN_ENVIRONMENT) $(PYTEST) -m versions -s $(ARGS)

test-scale: setup-tests ## 100,000 actors, 300 nodes, 100 users
	$(CLEAN_ENVIRONMENT) $(PYTEST) -m scale -s $(ARGS)

test-faults: setup-tests ## kill everything once and wait for its return
	$(CLEAN_ENVIRONMENT) $(PYTEST) -m faults -s $(ARGS)

bench: setup-tests ## measure; prints figures, asserts nothing
	$(CLEAN_ENVIRONMENT) $(BIN)/python -m benchmarks $(ARGS)

lock: setup ## write requirements*.lock and package-lock.json again
	$(BIN)/python scripts/lock.py

docs: setup ## write docs/settings.md again
	$(BIN)/python scripts/write_docs.py

screenshot: setup-tests ## take docs/screenshot.png again
	$(BIN)/python scripts/screenshot.py

clean: ## remove everything that set-up and tests made
	rm -rf .venv .venv-ray .tools static/vendor tests/browser/vendor dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
