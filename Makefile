# Each target sets up what it needs: see scripts/setup.sh.
BIN := .venv/bin
REPORT := build/report.html
SHORT := --hours 2 --speed 240

.PHONY: help up simulate test test-long test-kubernetes kubernetes lint format bench clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.venv/ready: pyproject.toml uv.lock scripts/setup.sh
	@scripts/setup.sh

up: .venv/ready ## the main job: a GPU cluster and a day of work, until Ctrl-C (no terminal: two hours of it)
	@if [ -t 0 ]; then $(BIN)/quartermaster up --demo; else $(BIN)/quartermaster up --demo $(SHORT); fi

simulate: .venv/ready ## place the openb trace, print the table, write the report
	@mkdir -p $(dir $(REPORT))
	@$(BIN)/quartermaster simulate --trace openb/default --policy quartermaster,fgd,best-fit --report $(REPORT)

lint: .venv/ready ## format, lint, types, architecture
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## everything CI runs, with a real Kubernetes where it can be built
	$(BIN)/pytest -n 2
	@$(MAKE) --no-print-directory test-kubernetes

test-long: lint ## the slow lane too
	HYPOTHESIS_PROFILE=slow $(BIN)/pytest -n 2 -m "not kubernetes"

kubernetes: .venv/ready ## build the real Kubernetes components that tests compare with (needs Go, minutes)
	@$(BIN)/python -m tools.kubernetes.binaries

test-kubernetes: .venv/ready ## compare with a real kube-apiserver; builds what it needs (docs/kubernetes-tests.md)
	@$(BIN)/python -m tools.kubernetes.binaries kube-apiserver etcd kubectl helm kube-controller-manager informers scraping
	$(BIN)/pytest -n 0 -m kubernetes -rfE

format: .venv/ready ## rewrite the code in the one format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/ready ## all benchmarks; figures on standard output
	$(BIN)/python -m benchmarks

clean: ## remove everything that the targets made
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
