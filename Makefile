# Every verb a person or a machine needs: `make help` lists them.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
FAMILY ?= signflow
UV := 0.13.9
TORCH = $(shell grep -o '^torch==[0-9.]*' constraints.txt)
TORCH_CPU_SHA256 := 6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
GROUPS := --group serve --group train --group ops --group orchestrator --group dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install nginx postgresql prometheus redis chromium serve train archive test lint format settings demo load benchmark lock
.PHONY: start-orchestrator stop-orchestrator logs-orchestrator trigger-auto-train trigger-auto-promote
.PHONY: test-pipeline test-integration
.PHONY: live-assets year closed-loop watch backup restore report check-drift view-alerts clear-alerts dashboards clean purge

help: ## List every verb
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Make .venv and install the pinned packages

.venv/installed: pyproject.toml constraints.txt deploy/pip.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv (about 2 GB; a few minutes the first time) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --progress-bar on --require-hashes --requirement deploy/pip.txt
	@# One release of torch is several builds; whichever pip is set to prefer is taken, and checked as the rest is.
	@$(BIN)/pip download --quiet --progress-bar on --no-deps --dest .venv/torch $(TORCH)
	@$(BIN)/pip install --quiet --no-deps --no-index --find-links .venv/torch --require-hashes --constraint constraints.txt $(TORCH)
	@rm -r .venv/torch
	@$(BIN)/pip install --quiet --progress-bar on --require-hashes --constraint constraints.txt $(GROUPS)
	@# The project is used in place: its root is on the path of this environment.
	@$(BIN)/python -c 'import os, pathlib, site; pathlib.Path(site.getsitepackages()[0], "marina.pth").write_text(os.getcwd())'
	@touch $@

nginx: ## Find nginx, or install it where that is allowed
	@scripts/install_program.sh nginx nginx

postgresql: ## Find PostgreSQL, or install it where that is allowed; tests that need it are skipped without
	@scripts/install_program.sh postgres postgresql || true

prometheus: ## Find Prometheus and Alertmanager, or install them where that is allowed; their tests are skipped without
	@scripts/install_program.sh prometheus prometheus || true
	@scripts/install_program.sh prometheus-alertmanager prometheus-alertmanager || true

redis: ## Find Redis, or install it where that is allowed; tests that need it are skipped without
	@scripts/install_program.sh redis-server redis-server || true

chromium: ## Find Chromium, or install it where that is allowed; tests that need it are skipped without
	@scripts/install_program.sh chromium chromium || true

serve: install nginx ## Train and build where needed, then serve on 127.0.0.1:8080 until Ctrl-C
	@$(BIN)/python scripts/train.py missing --quick
	@exec $(BIN)/python scripts/serve.py --sample

train: install ## Train and evaluate a family's models on generated data (FAMILY=budget)
	@$(BIN)/python scripts/train.py $(FAMILY) --no-archive

archive: install ## Train a family's models and build their archives (FAMILY=budget)
	@$(BIN)/python scripts/train.py $(FAMILY)

test: install nginx postgresql prometheus redis chromium ## Run every test this machine can run, against real servers
	@# One thread each: two processes that compute with two threads each wait for one another on two cores.
	@# What fails beside other tests is run once more, alone: what fails then, too, is broken, whatever the machine did.
	@export OMP_NUM_THREADS=1; $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 || \
		{ [ $$? = 1 ] && echo "Once more, alone, what failed beside others:" && \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

lint: install ## Check code, types and import contracts: ruff, mypy --strict, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

format: install ## Format the code and sort its imports
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

benchmark: install nginx ## Measure SignFlow against its in-process limit, and every other model of the store
	@$(BIN)/python -m benchmarks.throughput --mode batch --batch-size 32
	@$(BIN)/python -m benchmarks.models

settings: install ## Write settings.example.env from marina/settings.py
	@$(BIN)/python -m marina.settings > settings.example.env.new && mv settings.example.env.new settings.example.env

live-assets: install ## Fetch what finds landmarks in the browser, for the camera of /live/ (needs npm)
	@$(BIN)/python -m marina.products.live.assets

demo: install nginx ## Release four versions of a small model under live traffic: one better, three faulty
	@$(BIN)/python -m demo

year: install ## A year of loads, trainings and decisions of a small catalogue, checked (python -m demo.year --help)
	@$(BIN)/python -m demo.year

closed-loop: install nginx ## Drift, alarm, decision, training, canary and promotion on a running server
	@$(BIN)/python -m demo.closed_loop

start-orchestrator: install ## Run the loop on Dagster, in the background; its pages are on 127.0.0.1:3000
	@$(BIN)/python scripts/orchestrator.py start

stop-orchestrator: install ## Stop it; a run that is cut off is resumed by the next start
	@$(BIN)/python scripts/orchestrator.py stop

logs-orchestrator: install ## The last lines of its logs
	@$(BIN)/python scripts/orchestrator.py logs

trigger-auto-train: install ## Train a family now if there is a reason (FAMILY=catalog)
	@$(BIN)/python scripts/auto_train.py --family $(FAMILY)

trigger-auto-promote: install ## Decide now whether a version is released (MODEL=catalog VERSION=2.0)
	@test -n "$(MODEL)" -a -n "$(VERSION)" || { echo 'Say which: make trigger-auto-promote MODEL=catalog VERSION=2.0'; exit 1; }
	@$(BIN)/python scripts/auto_promote.py --model $(MODEL) --version $(VERSION)

test-pipeline: install ## The tests of the loop and of the orchestrator
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/marina/pipelines

test-integration: install nginx postgresql redis ## The slow tests of the platform, against real servers
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/marina tests/scripts

watch: install prometheus ## Prometheus and Alertmanager beside a running server, until Ctrl-C
	@exec $(BIN)/python scripts/watch.py

check-drift: install ## What drifted, and how much more is needed to say (scripts/check_drift.py --help)
	@$(BIN)/python scripts/check_drift.py

view-alerts: install ## Open alerts
	@$(BIN)/python scripts/alerts.py list

clear-alerts: install ## Decide that nothing is to be done about open warnings (WHY="load test")
	@test -n "$(WHY)" || { echo 'Say why, for the ledger: make clear-alerts WHY="load test"'; exit 1; }
	@$(BIN)/python scripts/alerts.py clear --why "$(WHY)"

backup: install ## Back up everything to MARINA_BACKUP_DESTINATION: what is new since the last time
	@$(BIN)/python scripts/backup.py run

restore: install ## Restore the newest backup into an empty state folder and database
	@$(BIN)/python scripts/backup.py restore

report: install ## Write the week's report to .marina/reports
	@$(BIN)/python scripts/weekly_report.py

dashboards: install ## Write deploy/grafana from marina/monitoring
	@$(BIN)/python -m marina.monitoring.dashboards

load: install ## Locust against a running server; writes load-report.html
	@$(BIN)/locust --locustfile tests/load/locustfile.py --headless --users 16 --spawn-rate 16 --run-time 30s --html load-report.html --host http://127.0.0.1:8080

lock: ## Rewrite constraints.txt from a fresh resolve, with the hash of every file of each release
	@rm -rf .venv.lock && $(PYTHON) -m venv .venv.lock && .venv.lock/bin/pip install --quiet uv==$(UV)
	@.venv.lock/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header --python-version 3.11 \
		pyproject.toml $(GROUPS) --group gpu --output-file constraints.txt
	@# PyTorch's own index has a build without CUDA, as Python 3.11 on x86-64 takes it; the other hashes are PyPI's.
	@sed -i 's/^$(TORCH) \\$$/&\n    --hash=sha256:$(TORCH_CPU_SHA256) \\/' constraints.txt && rm -rf .venv.lock

clean: ## Remove what was built here: the environment, built archives, reports; what was recorded stays
	@rm -rf .venv archives/store load-report.html

purge: ## Remove what was recorded too, after a question: database, ledger, tokens, logs, experiments
	@echo "This deletes .marina: the database with its predictions and labels, the ledger of every release, tokens, logs and experiments."
	@read -r -p "Nothing brings it back. Type 'purge' to continue: " answer && [ "$$answer" = purge ] || { echo "Nothing was deleted."; exit 1; }
	@rm -rf .marina
	@$(MAKE) --no-print-directory clean
