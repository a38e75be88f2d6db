# Every verb a person or a machine needs: `make help` lists them.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
FAMILY ?= signflow
GROUPS := --group serve --group train --group ops --group dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install nginx postgresql serve train archive test lint format demo load benchmark lock clean

help: ## List every verb
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Make .venv and install the pinned packages

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv (about 2 GB; a few minutes the first time) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --progress-bar on pip==26.3
	@$(BIN)/pip install --quiet --progress-bar on --constraint constraints.txt $(GROUPS)
	@# The project is used in place: its root goes on the path of this environment.
	@$(BIN)/python -c 'import os, pathlib, site; pathlib.Path(site.getsitepackages()[0], "marina.pth").write_text(os.getcwd())'
	@touch $@

nginx: ## Find nginx, or install it where that is allowed
	@scripts/install_program.sh nginx nginx

postgresql: ## Find PostgreSQL, or install it where that is allowed; tests that need it are skipped without
	@scripts/install_program.sh postgres postgresql || true

serve: install nginx ## Train and build where needed, then serve on 127.0.0.1:8080 until Ctrl-C
	@$(BIN)/python scripts/train.py missing
	@exec $(BIN)/python scripts/serve.py --sample

train: install ## Train and evaluate a family's models on generated data (FAMILY=budget)
	@$(BIN)/python scripts/train.py $(FAMILY) --no-archive

archive: install ## Train a family's models and build their archives (FAMILY=budget)
	@$(BIN)/python scripts/train.py $(FAMILY)

test: install nginx postgresql ## Run every test this machine can run, against real servers
	@$(BIN)/python -m pytest

lint: install ## ruff, mypy --strict, import arrows
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

format: install ## Format the code and sort its imports
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

benchmark: install nginx ## Measure SignFlow against its in-process limit, and every other model of the store
	@$(BIN)/python scripts/benchmark_throughput.py --mode batch --batch-size 32
	@$(BIN)/python scripts/benchmark_models.py

demo: install nginx ## Release four versions of a small model under live traffic, three of them ill, and see what becomes of them
	@$(BIN)/python scripts/demo.py

load: install ## Locust against a running server; writes load-report.html
	@$(BIN)/locust --locustfile tests/load/locustfile.py --headless --users 16 --spawn-rate 16 --run-time 30s --html load-report.html --host http://127.0.0.1:8080

lock: ## Rewrite constraints.txt from a fresh resolve
	@rm -rf .venv.lock && $(PYTHON) -m venv .venv.lock && .venv.lock/bin/pip install --quiet pip==26.3 && .venv.lock/bin/pip install --quiet $(GROUPS)
	@.venv.lock/bin/pip freeze --exclude-editable --exclude pip | sed 's/+cpu$$//' > constraints.txt && rm -rf .venv.lock

clean: ## Remove everything that was built, trained or recorded here
	@rm -rf .venv .marina archives/store load-report.html
