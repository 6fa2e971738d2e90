# One target per intent. `make` without a target lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
APP ?= sample-app/auction_house
HOST ?= 127.0.0.1
PORT ?= 8000
WEB ?=
DEV_ARGS ?= --web sample-app/web
PYTEST_ARGS ?=
PYTHONS ?=
TEST_PROCESSES ?= 2
BENCH_ARGS ?=
CHAOS_ARGS ?=
CLUSTER_ARGS ?=

# Free workers take tests from busy ones.
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

# The environment is rebuilt only if one of these files has changed.
RECIPE := pyproject.toml constraints.txt scripts/environment.sh
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: $(RUN_STAMP) ## Serve APP on this machine with the embedded store and reload on change (HOST, PORT, DEV_ARGS)
	@LOG_FORMAT=$${LOG_FORMAT:-text} exec $(BIN)/goverse dev $(APP) --host $(HOST) --port $(PORT) $(DEV_ARGS)

.PHONY: cluster
cluster: $(DEV_STAMP) ## Run APP on a cluster: etcd, PostgreSQL, 3 nodes and 2 gates on loopback (PORT, WEB, CLUSTER_ARGS)
	@scripts/install_system.sh etcd-server postgresql
	@exec $(BIN)/python scripts/cluster.py $(APP) --port $(PORT) $(if $(WEB),--web $(WEB)) $(CLUSTER_ARGS)

.PHONY: test
test: $(DEV_STAMP) ## Run the quick tests, which start no process (PYTEST_ARGS="-k wal" selects some, TEST_PROCESSES)
	$(PYTEST) -m "not system and not deploy" $(PYTEST_ARGS)

.PHONY: test-system
test-system: $(DEV_STAMP) ## Run the tests with real processes, servers and browsers, and long runs of the properties
	@scripts/install_system.sh chromium curl etcd-server faketime nginx nodejs npm pgbouncer postgresql
	$(PYTEST) -m "(system or hypothesis) and not deploy" --hypothesis-profile=thorough $(PYTEST_ARGS)

.PHONY: pythons
pythons: ## Run the quick tests under every supported Python that is installed (PYTHONS="3.12 3.14" requires these)
	@PYTHONS="$(PYTHONS)" scripts/pythons.sh $(PYTEST_ARGS)

.PHONY: check
check: static test-system test ## Run everything that a change must pass, as CI does

.PHONY: static
static: $(DEV_STAMP)
	@scripts/install_system.sh nodejs # pyright runs on it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLR0917 . # not yet stable
	$(BIN)/python scripts/prose.py
	$(BIN)/lint-imports
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

.PHONY: bench
bench: $(DEV_STAMP) ## Run the benchmarks and update docs/performance.md (BENCH_ARGS)
	@scripts/install_system.sh wrk postgresql etcd-server curl npm
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: chaos
chaos: $(DEV_STAMP) ## Inject faults into a cluster under load and report the effect on callers (CHAOS_ARGS=--help)
	@scripts/install_system.sh etcd-server postgresql
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

.PHONY: sdk
sdk: $(DEV_STAMP) ## Generate openapi.json and the client code, and build the clients into dist/clients
	@scripts/install_system.sh nodejs npm
	@PYTHON=$(BIN)/python scripts/build_clients.sh

.PHONY: verify-deploy
verify-deploy: $(DEV_STAMP) ## Check images, chart and manifests with Helm, schemas, checkov, hadolint, promtool, and run the Pods with podman
	@scripts/install_system.sh etcd-server nodejs npm postgresql prometheus
	@scripts/install_system.sh buildah catatonit debian-archive-keyring mmdebstrap podman runc # to run the Pods
	@scripts/deploy_tools.sh
	@scripts/chain_tools.sh
	$(BIN)/python -m pytest tests/deploy -m deploy -v --tb=short $(PYTEST_ARGS)

.PHONY: k8s
k8s: $(DEV_STAMP) ## Generate README, schema and dashboards of the chart, and k8s/, after a change of the chart
	@scripts/deploy_tools.sh
	$(BIN)/python scripts/dashboards.py
	$(BIN)/python scripts/chart_reference.py
	$(BIN)/python scripts/kustomize.py

.PHONY: sbom
sbom: ## Write an SBOM of each distribution into dist/sbom, as CycloneDX
	@scripts/install_system.sh nodejs npm
	@scripts/chain_tools.sh
	@scripts/sbom.sh

.PHONY: licences
licences: sbom ## Check that all shipped dependencies have an accepted licence
	@.chain-tools/bin/python scripts/licences.py

.PHONY: advisories
advisories: sbom ## Check all shipped dependencies for known vulnerabilities
	@.chain-tools/bin/python scripts/advisories.py

.PHONY: fmt
fmt: $(DEV_STAMP) ## Format the code and apply the automatic fixes of the linter
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: proto
proto: $(DEV_STAMP) ## Generate modules and stubs from the .proto files
	@PYTHON=$(BIN)/python scripts/generate_protobuf.sh

.PHONY: clean
clean: ## Remove the environment, caches and build results (never .goverse, your data)
	rm -rf $(VENV) .venv-3.* .benchmark-peers .chain-tools .deploy-images .deploy-tools build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): $(RECIPE)
	@PYTHON=$(PYTHON) scripts/environment.sh $(VENV) .
	@touch $@

$(DEV_STAMP): $(RECIPE)
	@PYTHON=$(PYTHON) scripts/environment.sh $(VENV) '.[dev]'
	@touch $@ $(RUN_STAMP)
