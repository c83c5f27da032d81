# `make` alone prints help. Works with GNU make from 3.81 and any POSIX shell.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo tour up console ha-up ha-down shards-up shards-down down ps logs clean test check unit integration versions \
	acceptance model fuzz faults ha swarm soak settings schemas dist format venv engine lock distclean bench

# What may be given: make test PYTEST_ARGS="-k fold -x", make venv PYTHON=/path/to/python3.12,
# make lock LOCK_ARGS=--upgrade
PYTEST_ARGS =
PYTHON =
LOCK_ARGS =
# Not to be given: what deploy/airgap/images.sh is to bring besides the stack's images.
IMAGES_ARGS =

# Tools run as modules, so the checkout may be moved without rebuilding the scripts of .venv.
PY := .venv/bin/python
# Whatever the environment says: each worker of pytest would compile all tests again, every time.
export PYTHONDONTWRITEBYTECODE =
STAMP := .venv/.from-lock
FUZZ_STAMP := .venv/.from-fuzz-lock
CHART_STAMP := .venv/.from-chart-lock
PYTEST := $(PY) -m pytest

# compose ignores .env once --env-file is given, so both are named. .airgap.env comes from
# deploy/airgap/images.sh and is last: a stand-in is only named where the real image cannot be had.
COMPOSE = docker compose $$(for f in .env .airgap.env; do if [ -f $$f ]; then echo "--env-file $$f"; fi; done)

# The locks serve Python 3.11 and later on every platform, and hold every file's hash but no host.
UV_VERSION := 0.13.8
LOCK_VENV := build/uv
UV_COMPILE = $(LOCK_VENV)/bin/python -m uv pip compile --quiet --no-config --universal \
	--python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links

help: ## Print this help
	@awk 'BEGIN { FS = ":.*## "; print "Minutebook: balances of card providers, exact, on the minute.\n" } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  PYTEST_ARGS="-k fold -x" reaches pytest; PYTHON=... chooses the interpreter of .venv.'

# --- Run --------------------------------------------------------------------------------------

demo: venv engine ## The main job from nothing: one message in, the right balance a minute later
	@$(PY) -m demo

tour: venv engine ## What is around the core: HTTP, requests, replies, alerts, events, objects seen; each checked
	@$(PY) -m tour

up: engine ## Build and start the stack in the background
	@echo "==> starting the stack"
	@$(COMPOSE) up --detach --build

console: engine ## Build and start the stack with its console: how all is, on one page
	@echo "==> starting the stack and its console"
	@$(COMPOSE) --profile console up --detach --build --wait
	@echo "==> http://$$($(COMPOSE) --profile console port console 8081)"

# The clusters of deploy/ha under the same services: two of each.
HA_COMPOSE = $(COMPOSE) --file compose.yaml --file deploy/ha/compose.yaml
HA_WAIT_S = 600

ha-up: IMAGES_ARGS = --ha
ha-up: engine ## Build and start the stack on clusters of three servers each (docs/ha.md)
	@echo "==> starting the stack on clusters"
	@$(HA_COMPOSE) up --detach --build --wait --wait-timeout $(HA_WAIT_S)

ha-down: export COMPOSE_PROFILES = all,observe

ha-down: ## Stop the stack on clusters; volumes stay (HA_DOWN_ARGS=--volumes removes them)
	@$(HA_COMPOSE) down --remove-orphans $(HA_DOWN_ARGS)

# The same services twice, each for half of the providers.
SHARDS_COMPOSE = $(COMPOSE) --file compose.yaml --file deploy/shards/compose.yaml

shards-up: engine ## Build and start two shards: providers split over two Postgres (docs/shards.md)
	@echo "==> starting two shards"
	@$(SHARDS_COMPOSE) up --detach --build --wait

shards-down: export COMPOSE_PROFILES = all,observe

shards-down: ## Stop both shards; volumes stay (SHARDS_DOWN_ARGS=--volumes removes them)
	@$(SHARDS_COMPOSE) down --remove-orphans $(SHARDS_DOWN_ARGS)

# Whatever profiles it was started with.
down clean: export COMPOSE_PROFILES = all,observe

down: ## Stop the stack; volumes stay
	@$(COMPOSE) down --remove-orphans

ps: ## Show the stack's containers
	@$(COMPOSE) ps --all

logs: ## Follow the stack's logs
	@$(COMPOSE) logs --follow --tail 100

clean: ## Stop the stack and remove its volumes: all data is gone
	@$(COMPOSE) down --volumes --remove-orphans

# --- Test -------------------------------------------------------------------------------------

# Tests that run beside each other in `make test`, mostly waiting; each worker has servers of its
# own. What takes longest comes first (tests/conftest.py).
WORKERS = 4
# Unit tests only compute.
UNIT_WORKERS = -n logical --maxprocesses 4

# The tests ask for more images than the stack.
integration: IMAGES_ARGS = --tests
test: IMAGES_ARGS = --tests --ha
faults: IMAGES_ARGS = --ha

test: venv $(CHART_STAMP) engine ## All tests: unit, integration, acceptance, faults
	@echo "==> all tests"
	@$(PYTEST) tests -n $(WORKERS) --no-loadscope-reorder $(PYTEST_ARGS)

check: venv $(CHART_STAMP) ## What to run before every commit: format, lint, types, imports, unit (no Docker)
	@echo "==> format"
	@$(PY) -m ruff format --check .
	@echo "==> lint"
	@$(PY) -m ruff check .
	@.venv/bin/shellcheck -x .ci/run $$(git ls-files '*.sh')
	@.venv/bin/hadolint Dockerfile deploy/ha/postgres/Dockerfile
	@$(PY) -m check_jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@echo "==> types"
	@$(PY) -m mypy
	@echo "==> imports"
	@$(PY) .venv/bin/lint-imports --no-logo
	@echo "==> unit tests"
	@$(PYTEST) tests/unit $(UNIT_WORKERS) $(PYTEST_ARGS)

unit: venv $(CHART_STAMP) ## Unit tests (no Docker)
	@$(PYTEST) tests/unit $(UNIT_WORKERS) $(PYTEST_ARGS)

integration: venv engine ## Integration tests: one real server at a time
	@$(PYTEST) tests/integration -n $(WORKERS) $(PYTEST_ARGS)

# What may be given: make versions SUITE=forky OTHERS="POSTGRES RABBITMQ KEYDB REDIS"
SUITE = bookworm
OTHERS = POSTGRES REDIS

versions: IMAGES_ARGS = --tests
versions: venv engine ## Integration tests on the servers of another Debian (as root on Debian)
	@for one in $(OTHERS); do \
		name=$$(echo $$one | tr A-Z a-z); image=minutebook-standin/$$name:$(SUITE); \
		DEBIAN_SUITE=$(SUITE) ./deploy/airgap/build.sh $$name $$image || exit; \
		export $${one}_IMAGE=$$image; \
	done; $(PYTEST) tests/integration $(PYTEST_ARGS)

acceptance: venv engine ## Acceptance tests: the whole stack from outside
	@$(PYTEST) tests/acceptance $(PYTEST_ARGS)

# What may be given: make model ONLY=token MODEL_ARGS=--trail
MODEL_ARGS =

model: venv ## Check the protocol's model, and that every mutant of it is found: minutes (no Docker)
	@./deploy/airgap/spin.sh
	@$(PY) -m model $(if $(ONLY),--only $(ONLY)) $(MODEL_ARGS)

# What may be given: make fuzz FUZZ_SECONDS=600 FUZZ_ARGS="--only body"
FUZZ_SECONDS = 60
FUZZ_ARGS =

fuzz: $(FUZZ_STAMP) ## Fuzz what reads foreign bytes, guided by coverage (no Docker)
	@$(PY) -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

faults: venv engine ## Fault tests: each fault on each part once, under load
	@$(PYTEST) tests/faults $(PYTEST_ARGS)

# What may be given: make soak FAULTS=1000 SEED=7 SOAK_ARGS="--minutes 8 --only postgres"
FAULTS =
SEED =
SOAK_ARGS =

soak: venv engine ## Random interleavings by hypothesis; with FAULTS=1000 SEED=7 faults on a whole stack
	@$(if $(FAULTS),\
		$(PY) -m tests.faults --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) $(SOAK_ARGS),\
		$(PYTEST) tests/integration -m soak $(PYTEST_ARGS))

# What may be given: make ha HA_ARGS="--only 'postgres: leader killed' --seed 7"
HA_ARGS =

ha: IMAGES_ARGS = --ha
ha: venv engine ## Faults on clusters (deploy/ha) under load, and what each cost: half an hour
	@$(PY) -m tests.faults.ha $(HA_ARGS)

swarm: venv engine ## The stack of deploy/swarm on this machine; not beside other containers that you need
	@echo "==> the stack for Swarm"
	@$(PYTEST) tests/acceptance/fresh/test_swarm.py -m swarm $(PYTEST_ARGS)

settings: venv ## Write docs/settings.md, docs/cli.md, .env.example and the chart's schema from the code
	@$(PY) -m tools.settings
	@$(PY) -m tools.chart
	@$(PY) -m tools.cli

schemas: venv ## Write docs/schemas/ and docs/openapi.json from the types and routes in the code
	@$(PY) -m tools.schemas
	@$(PY) -m tools.openapi

# What may be given: make dist TAG=v0.1.0
TAG =

dist: venv $(CHART_STAMP) ## Make the wheel, the Helm chart and release notes in dist/ (docs/release.md)
	@$(PY) -m tools.release $(if $(TAG),--tag $(TAG))

format: venv ## Format the code and apply the safe fixes
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

# --- Prepare ----------------------------------------------------------------------------------

venv: $(STAMP) ## Create .venv from the lock (again when the lock changes)
	@:

# The stamp is a copy of the lock: a lock that is only newer (make lock, git checkout) costs nothing.
# A candidate counts only if it runs (a pyenv shim may not), is new enough, and can make a venv.
$(STAMP): requirements-dev.lock
	@if cmp -s requirements-dev.lock $(STAMP); then touch $(STAMP); exit 0; fi; \
	found=; old=; lame=; \
	for p in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
		"$$p" -c '' >/dev/null 2>&1 || continue; \
		"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { old="$$old $$p"; continue; }; \
		"$$p" -c 'import ensurepip, venv' >/dev/null 2>&1 || { lame="$$lame $$p"; continue; }; \
		found=$$p; break; \
	done; \
	if [ -z "$$found" ]; then \
		if [ -n "$$lame" ]; then \
			echo "make: found$$lame, but without venv and ensurepip;" \
				"on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		elif [ -n "$$old" ]; then \
			echo "make: Python 3.11 or newer is needed, found only$$old (too old);" \
				"name one with PYTHON=..." >&2; \
		else \
			echo "make: Python 3.11 or newer is needed, found none; name one with PYTHON=..." >&2; \
		fi; \
		exit 3; \
	fi; \
	echo "==> .venv from requirements-dev.lock, with $$("$$found" --version)"; \
	"$$found" -m venv --clear .venv && \
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements-dev.lock && \
	cp requirements-dev.lock $(STAMP)

# The fuzzer is large and nobody else needs it; a new .venv is without it.
$(FUZZ_STAMP): requirements-fuzz.lock $(STAMP)
	@echo "==> the fuzzer from requirements-fuzz.lock"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--only-binary :all: --requirement requirements-fuzz.lock
	@cp requirements-fuzz.lock $(FUZZ_STAMP)

# What lints, renders, checks and packages the Helm chart, in a folder that nothing else imports from: one of
# these packages brings a plugin to every run of pytest that finds it. Where a system has no wheel,
# the chart's tests are skipped; where CI is set, they fail.
$(CHART_STAMP): requirements-chart.lock $(STAMP)
	@if cmp -s requirements-chart.lock $(CHART_STAMP); then touch $(CHART_STAMP); exit 0; fi; \
	echo "==> what checks and packages the Helm chart, from requirements-chart.lock"; \
	if $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--only-binary :all: --upgrade --target .venv/chart --requirement requirements-chart.lock; then \
		cp requirements-chart.lock $(CHART_STAMP); \
	else \
		echo "make: without it; the chart's tests are skipped" >&2; \
	fi

engine: ## Make sure that there is a Docker engine with Compose, and the base images
	@./deploy/airgap/engine.sh
	@./deploy/airgap/images.sh $(IMAGES_ARGS)

lock: $(LOCK_VENV)/$(UV_VERSION) ## Write all locks again from pyproject.toml (newer versions: LOCK_ARGS=--upgrade)
	@echo "==> requirements.lock"
	@$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements.lock pyproject.toml
	@echo "==> requirements-dev.lock"
	@$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements-dev.lock \
		--constraint requirements.lock --group dev pyproject.toml
	@echo "==> requirements-fuzz.lock"
	@$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements-fuzz.lock --group pyproject.toml:fuzz
	@echo "==> requirements-chart.lock"
	@$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements-chart.lock \
		--constraint requirements-dev.lock --group pyproject.toml:chart

# A venv of its own: a lock that no longer installs must not keep anyone from making a new one.
$(LOCK_VENV)/$(UV_VERSION):
	@echo "==> uv $(UV_VERSION) into $(LOCK_VENV)"
	@$(or $(PYTHON),python3) -m venv --clear $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

distclean: clean ## clean, and remove .venv, caches and build/
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- Measure ----------------------------------------------------------------------------------

# What may be given: make bench ONLY=ingest, make bench BENCH_ARGS="--messages 50000 --runs 3"; beside another checkout: make bench BENCH_ARGS="--against DIR"
ONLY =
BENCH_ARGS =

bench: venv engine ## Measure beside peers, on servers of its own: minutes to an hour
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY)) $(BENCH_ARGS)
