# One verb per intent. `make` alone lists them.
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

# An environment is rebuilt only when what it was made from has changed.
RECIPE := pyproject.toml constraints.txt scripts/environment.sh
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: help
help: ## List the verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: $(RUN_STAMP) ## Serve APP with the embedded store and reload on change (HOST, PORT, DEV_ARGS)
	@LOG_FORMAT=$${LOG_FORMAT:-text} exec $(BIN)/goverse dev $(APP) --host $(HOST) --port $(PORT) $(DEV_ARGS)

.PHONY: cluster
cluster: $(DEV_STAMP) ## Run APP on a cluster: etcd, PostgreSQL, 3 nodes and 2 gates on loopback (PORT, WEB, CLUSTER_ARGS)
	@scripts/install_system.sh etcd-server postgresql
	@exec $(BIN)/python scripts/cluster.py $(APP) --port $(PORT) $(if $(WEB),--web $(WEB)) $(CLUSTER_ARGS)

.PHONY: test
test: $(DEV_STAMP) ## Run every test (PYTEST_ARGS="-k wal" for some, TEST_PROCESSES)
	@scripts/install_system.sh chromium curl etcd-server faketime nginx nodejs npm pgbouncer postgresql
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: pythons
pythons: ## Run the quick tests under every Python that is admitted and installed here (PYTHONS="3.12 3.14")
	@scripts/install_system.sh curl etcd-server faketime nginx nodejs npm pgbouncer postgresql
	@PYTHONS="$(PYTHONS)" scripts/pythons.sh $(PYTEST_ARGS)

.PHONY: check
check: static test ## Everything that a change must pass: what CI runs

.PHONY: static
static: $(DEV_STAMP)
	@scripts/install_system.sh nodejs # pyright runs on it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

.PHONY: bench
bench: $(DEV_STAMP) ## Measure side by side and write docs/performance.md (BENCH_ARGS)
	@scripts/install_system.sh wrk postgresql etcd-server curl npm
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: chaos
chaos: $(DEV_STAMP) ## Break a cluster under load in every way and tell what callers notice (CHAOS_ARGS=--help)
	@scripts/install_system.sh etcd-server postgresql
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

.PHONY: sdk
sdk: $(DEV_STAMP) ## Write what the clients are made from again, and build them into dist/clients
	@scripts/install_system.sh nodejs npm
	@PYTHON=$(BIN)/python scripts/build_clients.sh

.PHONY: verify-deploy
verify-deploy: $(DEV_STAMP) ## Check images, chart and manifests with Helm, schemas, checkov, hadolint, Prometheus, and run the Pods with podman
	@scripts/install_system.sh etcd-server nodejs npm postgresql prometheus
	@scripts/install_system.sh buildah catatonit debian-archive-keyring mmdebstrap podman runc # to run the Pods
	@scripts/deploy_tools.sh
	@scripts/chain_tools.sh
	$(BIN)/python -m pytest tests/deploy -m deploy -v --tb=short $(PYTEST_ARGS)

.PHONY: k8s
k8s: $(DEV_STAMP) ## Write the chart's README, schema and dashboards and the manifests in k8s/ again, after a change of the chart
	@scripts/deploy_tools.sh
	$(BIN)/python scripts/dashboards.py
	$(BIN)/python scripts/chart_reference.py
	$(BIN)/python scripts/kustomize.py

.PHONY: sbom
sbom: ## Write what is shipped into dist/sbom, as CycloneDX documents
	@scripts/install_system.sh nodejs npm
	@scripts/chain_tools.sh
	@scripts/sbom.sh

.PHONY: licences
licences: sbom ## Say whether all that is shipped is under accepted licences
	@.chain-tools/bin/python scripts/licences.py

.PHONY: advisories
advisories: sbom ## Ask whether anything that is shipped has a known vulnerability
	@.chain-tools/bin/python scripts/advisories.py

.PHONY: fmt
fmt: $(DEV_STAMP) ## Format the code and repair what lint can repair
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: proto
proto: $(DEV_STAMP) ## Write the modules and stubs of the .proto files again, after a change of one
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
