# Tidegauge: everything a contributor runs. Needs make, sh and Python 3.11 or newer; `make` alone lists the targets.

VENV ?= .venv
BIN := $(VENV)/bin
BROKER := $(BIN)/python tests/kafka_broker/broker.py
ARGS ?=
LIGHT ?=
JOBS ?= 2

# The first Python that really runs and is new enough: a version manager's launcher may have no Python behind it.
ifndef PYTHON
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
endif

UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python

# Folders of tests are checked one at a time: each may have a conftest.py of its own.
TEST_FOLDERS = $(filter-out tests/kafka_broker tests/common,$(shell find tests -mindepth 2 -name '*.py' | cut -d/ -f1,2 | sort -u))

.DEFAULT_GOAL := help
.PHONY: help venv demo test reliability soak lint types wheel kafka kafka-stop collector bench clean

help:  ## list these targets
	@echo "make TARGET [ARGS='...']   with $(or $(PYTHON),no Python of 3.11 or newer found)"
	@sed -n 's/^\([a-z-]*\):.*  ## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(VENV)/.dev  ## .venv with everything for development, about 1.5 GB on disk

demo: $(VENV)/.demo$(if $(LIGHT),-light)  ## the demonstration; LIGHT=1 leaves out embeddings and their 4.3 GB
	$(BIN)/tidegauge demo $(ARGS)

test: $(VENV)/.dev  ## all tests, JOBS files at a time; the Kafka ones on a real broker where java and mvn are there
	@if command -v java >/dev/null && command -v mvn >/dev/null; then $(BROKER) fetch >/dev/null; \
	  else echo "java or mvn is missing: the Kafka tests cannot run"; fi
	$(BIN)/pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

reliability: $(VENV)/.dev  ## every fault in full, about 30 minutes; rewrites the table of docs/reliability.md
	@$(BROKER) fetch >/dev/null
	$(BIN)/python tests/reliability/run.py $(ARGS)

soak: $(VENV)/.dev  ## 80 % load with a fault each minute, and how memory grows; ARGS='--minutes 60' for longer than 10
	@$(BROKER) fetch >/dev/null
	PYTHONPATH=tests/kafka_broker $(BIN)/python tests/reliability/soak.py $(ARGS)

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check --no-cache .

types: $(VENV)/.dev  ## mypy --strict over the package, and over what stands beside it
	$(BIN)/mypy
	MYPYPATH=tests/collectors $(BIN)/mypy docker/healthcheck.py tests/*.py tests/kafka_broker tests/common $(wildcard benchmarks/*.py)
	@for each in $(TEST_FOLDERS); do echo "$(BIN)/mypy $$each"; \
	  MYPYPATH=tests/kafka_broker:tests/common $(BIN)/mypy "$$each" || exit 1; done

wheel: $(VENV)/.dev  ## sdist, the wheel built from it, and a trial of that wheel in a clean environment
	rm -rf dist
	$(BIN)/python -m build --installer uv --outdir dist .
	$(BIN)/python tests/check_wheel.py dist

kafka: $(VENV)/.dev  ## start a Kafka broker on this machine and print its address
	@$(BROKER) start

kafka-stop: $(VENV)/.dev  ## stop it
	@$(BROKER) stop

collector:  ## build the official OpenTelemetry Collector into .collector, for tests and benchmarks beside it; needs Go
	@benchmarks/official_collector/build.sh

bench: $(VENV)/.dev  ## the measurements behind every published number
	@for each in $(wildcard benchmarks/*.py); do echo "== $$each"; $(BIN)/python "$$each" $(ARGS) || exit 1; done

clean:  ## remove what was built; .venv and .kafka stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .coverage

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "Tidegauge needs Python 3.11 or newer: make PYTHON=/path/to/python"; exit 1; }
	@echo "$(VENV): made with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "if venv is missing, on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.dev: pyproject.toml | $(BIN)/uv
	@echo "Downloading Tidegauge's dependencies and tools: about 0.45 GB (1.5 GB on disk), less what is cached"
	@$(UV_INSTALL) --editable '.[demo]' --group dev
	@touch $@

$(VENV)/.demo-light: pyproject.toml | $(BIN)/uv
	@echo "Downloading Tidegauge's dependencies: about 0.4 GB (1.3 GB on disk), less what is cached"
	@echo "LIGHT: without sentence-transformers and torch; questions are compared by their words, not by their meaning"
	@$(UV_INSTALL) --editable '.[demo]'
	@touch $@

# torch asks for triton, its GPU kernel compiler, which nothing here calls: leaving it out saves 1.0 GB of disk.
$(VENV)/.demo: pyproject.toml | $(BIN)/uv
	@echo "Downloading torch with its CUDA libraries and sentence-transformers: on Linux about 2.7 GB (4.3 GB on disk)"
	@echo "  make demo LIGHT=1 does without; UV_TORCH_BACKEND=cpu make demo takes torch's CPU build from its own index"
	@echo "triton ; sys_platform == 'never'" > $(VENV)/without-triton.txt
	@$(UV_INSTALL) --override $(VENV)/without-triton.txt --editable '.[demo,embeddings]'
	@touch $@
