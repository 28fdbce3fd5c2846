# `make` or `make help` lists what there is. Paths are relative and quoted: the checkout's own path may hold spaces.
# A fresh machine needs python3 >= 3.11 (with its venv module) and make; everything else comes from requirements/.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV     := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help dev up federation test lint fix load bench lock clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' Makefile

dev: $(STAMP) ## make .venv with everything needed to work on tierlink

up: $(STAMP) ## start a node with its database and the sample, in the foreground (TIERLINK_PORT, TIERLINK_DATA_DIR, …)
	@exec $(BIN)/tierlink up

federation: $(STAMP) ## start four nodes of as many companies on this machine, in the foreground (ARGS="--port 0", TIERLINK_DATA_DIR)
	@exec $(BIN)/tierlink federation $(ARGS)

# What starts processes of its own, and watches the clock, has the machine to itself.
ALONE := tests/e2e tests/faults
test: $(STAMP) ## run the tests; ARGS="-k word" picks some
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest -n auto --dist loadfile $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest $(ALONE)
endif

lint: $(STAMP) ## ruff, formatting, types, import contracts
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

fix: $(STAMP) ## repair what a machine can repair
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

load: $(VENV)/.loadtest ## headless load test of a running node (ARGS="--help" tells more)
	$(BIN)/python loadtests/run.py $(ARGS)

bench: $(VENV)/.loadtest ## the measured comparison: hot, cold and batch against plain FastAPI, in one run
	$(BIN)/python loadtests/bench.py $(ARGS)

# Universal: one file serves every platform and Python >= 3.11. Hashes, no addresses: any mirror of the same files will do.
# The tighter files are constrained by dev.lock, so that one version of a package is tested, deployed and load-tested.
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet --no-header --no-emit-index-url --no-emit-find-links
lock: $(STAMP) ## write requirements/*.lock anew from pyproject.toml (ARGS="--upgrade" takes newer releases)
	$(BIN)/python -m pip install --quiet uv==$(UV)
	$(COMPILE) --extra dev --output-file requirements/dev.lock $(ARGS)
	$(COMPILE) --extra server --extra embedded --constraint requirements/dev.lock --output-file requirements/server.lock $(ARGS)
	$(COMPILE) --extra loadtest --constraint requirements/dev.lock --output-file requirements/load.lock $(ARGS)

clean: ## remove what the tools made; the data of `make up` (.tierlink) stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv remembers the folder it was made in: a copied or moved checkout installs anew, for its scripts know their absolute path.
MADE_HERE = test "$$(cat $(VENV)/.made-in 2>/dev/null)" = "$$(pwd)" && $(BIN)/python -c '' 2>/dev/null
ifneq ($(shell $(MADE_HERE) && echo yes),yes)
.PHONY: $(STAMP)
endif

PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet install

$(STAMP): pyproject.toml requirements/dev.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'tierlink needs Python 3.11 or newer. Name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'This Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }
	@{ $(MADE_HERE); } || { echo 'making $(VENV)'; "$(PYTHON)" -m venv --clear $(VENV) && pwd > $(VENV)/.made-in; }
	@echo 'installing tierlink and its tools into $(VENV)'
	@$(PIP) --require-hashes -r requirements/dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.loadtest: $(STAMP) requirements/load.lock
	@$(PIP) --require-hashes -r requirements/load.lock
	@touch $@
