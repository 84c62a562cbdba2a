# One word per habit. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 10
UV_VERSION := 0.13.9
READY := $(VENV)/.ready
LOWEST := .venv-lowest
AZURITE := .azurite/node_modules/.bin/azurite-blob
NEIGHBOURS := 'dagster-duckdb-pandas>=0.29.21' 'dagster-pandera>=0.29.21' 'mlflow>=3'

.PHONY: help setup demo dev docs dist test test-services test-deployment test-browser test-lowest resolve-beside soak lint format types validate bench bench-start bench-growth bench-publishing lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## make .venv with the locked dependencies

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@# Compile the modules once: else a dozen processes do so at the same time, and where nothing may be cached, each time.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import sora_pipeline.definitions, sora_pipeline.cli.app, sora_pipeline.headless.first_run'
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/dagster-daemon --help >/dev/null
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/dagster api grpc --help >/dev/null
	@touch $(READY)

demo: $(READY) ## the example manifest to real videos: sandbox provider, real daemon, no key, no cost
	$(BIN)/sora-pipeline run data/manifest.csv
	@command=$(BIN)/sora-pipeline; test "$$(command -v sora-pipeline)" != "$(CURDIR)/$(BIN)/sora-pipeline" || command=sora-pipeline; \
	printf '\nnext:\n  %s\n  %s\n' \
	  "$$command check data/manifest.csv    # any manifest: every problem of every row, and what it will cost" \
	  "$$command dev                        # the Dagster UI with these clips; Ctrl-C ends it"

dev: $(READY) ## the Dagster UI on the same home as the demo
	$(BIN)/sora-pipeline dev

docs: $(READY) ## the documentation as a site in site/; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -d .sphinx docs site
	@echo "site/index.html"

dist: $(READY) ## wheel and sdist in dist/; REPOSITORY_URL=https://… says where a release's sources can be read
	@test -n "$(REPOSITORY_URL)" || echo "without REPOSITORY_URL the package names no address, and its README shows no pictures"
	REPOSITORY_URL="$(REPOSITORY_URL)" $(BIN)/python -m hatchling build -d dist

test: $(READY) ## the tests that need no service
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not services and not browser and not deployment"

test-services: $(READY) $(AZURITE) ## the tests against PostgreSQL and friends; fails where one is missing
	$(BIN)/python -m pytest -n 3 --dist worksteal -m services
	@# Not beside the others: these have servers, workers and a daemon of their own.
	$(BIN)/python -m pytest -n 2 -m deployment sora_pipeline_tests/deploy/test_celery.py sora_pipeline_tests/deploy/test_image.py

# An Azure Blob Storage. The date holds what it depends on to the versions that there were then.
$(AZURITE):
	npm install --silent --no-audit --no-fund --ignore-scripts --before 2026-11-15 --prefix .azurite azurite@3.37.0

test-deployment: $(READY) ## all that is in deploy/: the files, what the image installs, and what test-services takes of it
	$(BIN)/python -m pytest -m deployment

test-browser: $(READY) ## the tests that look at pages in Debian's Chromium; fails where it is missing
	$(BIN)/python -m pytest -n 2 --dist worksteal -m browser

# Tests of processes, files and pages, and of what is decided by our own code alone: the versions of libraries hardly touch it.
NOT_OF_LIBRARIES := attacks automation/control components/test_dg.py dagster_ui docs finishing killing packaging two_pipelines test_benchmarks.py \
  cli/test_adopt.py cli/test_demo.py cli/test_ledger.py cli/test_picks.py cli/test_stopping.py cli/test_wrong_calls.py \
  headless/test_backup.py headless/test_first_runs.py headless/test_interrupted.py headless/test_litellm_proxy.py headless/test_run_processes.py \
  ledger/test_attempts.py ledger/test_racing.py manifest/test_many_rows.py production/test_amendments.py production/test_any_faults.py production/test_going_on.py

test-lowest: $(READY) ## the tests with the lowest versions of the dependencies that pyproject.toml allows
	@rm -rf $(LOWEST)
	$(BIN)/python -m uv venv --quiet --python $(BIN)/python $(LOWEST)
	$(BIN)/python -m uv pip compile --quiet --resolution lowest-direct --no-header --all-extras pyproject.toml -o $(LOWEST)/lowest.txt
	$(BIN)/python -m uv pip install --quiet --python $(LOWEST)/bin/python -r $(LOWEST)/lowest.txt --group dev "uv==$(UV_VERSION)"
	$(BIN)/python -m uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --no-build-isolation -e .
	$(LOWEST)/bin/python -m pytest -n 3 --dist worksteal -m "not services and not browser and not deployment" $(foreach part,$(NOT_OF_LIBRARIES),--ignore sora_pipeline_tests/$(part))

resolve-beside: $(READY) ## whether the package can be installed beside what Dagster projects have
	@for neighbour in $(NEIGHBOURS); do \
	  echo "sora-pipeline[azure,celery,excel,gcs,k8s,postgres,s3,sandbox,ui] beside $$neighbour"; \
	  echo "$$neighbour" | $(BIN)/python -m uv pip compile --quiet --all-extras --no-header pyproject.toml - -o /dev/null || exit 1; \
	done

soak: $(READY) ## kill everything at random for MINUTES, and see whether anything is lost or paid twice
	$(BIN)/python -m sora_pipeline_tests.killing.soak --minutes $(MINUTES)

lint: $(READY) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

validate: $(READY) ## load the code location as Dagster does
	$(BIN)/dagster definitions validate -m sora_pipeline.definitions

bench: $(READY) ## this project against a bare script, Prefect, Airflow and a run per clip, three times over
	$(BIN)/python -m benchmarks.makespan --repeat 3 --plot docs/images/makespan.svg

bench-start: $(READY) ## from the command, and from the schedule, to the first submit
	$(BIN)/python -m benchmarks.start --repeat 3 --plot docs/images/start.svg

bench-growth: $(READY) ## what a clip and a sensor's tick cost at 100 to 100,000 clips
	$(BIN)/python -m benchmarks.growth --plot docs/images/growth.svg

bench-publishing: $(READY) ## what publishing takes at 100,000 and 1,000,000 rows
	$(BIN)/python -m benchmarks.publishing

lock: ## compile requirements.txt, and deploy/requirements.txt without what only developers need, anew from pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-strip-extras --all-extras --group dev --group dg --group docs pyproject.toml -o requirements.txt
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-strip-extras --all-extras --group build --constraints requirements.txt pyproject.toml -o deploy/requirements.txt

clean: ## remove the environment and caches; never your videos
	rm -rf $(VENV) $(LOWEST) site .sphinx docs/reference .venv-peers .azurite .pytest_cache .mypy_cache .ruff_cache
