# Everything a newcomer needs: `make demo`, `make test`. Each does its own set-up, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test test-unit test-faults bench lint lock minio clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
export PYTHONSAFEPATH := 1

help: ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.setup ## all that is needed to run: packages, Java, ffmpeg, JARs; leaves .venv/bin/lake

setup-test: $(VENV)/.setup-test ## all that is needed to test: setup, test packages, a JDK, MinIO

demo: setup ## the whole way on simulated devices, or on your own folder: make demo DATA=/some/folder
	@$(BIN)/lake demo $(if $(DATA),--data '$(DATA)')

test: setup-test lint ## all tests but the long ones
	@$(BIN)/python -m pytest tests -m "not full"

test-unit: setup-test ## tests without JVM and servers
	@$(BIN)/python -m pytest tests/unit tests/property

test-faults: setup-test ## the long fault tests
	@$(BIN)/python -m pytest tests -m full

bench: setup-test ## measure against the bare loop and plain PySpark, on the whole corpus
	@$(BIN)/python -m tests.bench

lint: setup-test ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: $(VENV)/.uv ## compute the lock files anew from requirements*.in
	@for name in requirements requirements-dev requirements-go; do \
	  $(UV) compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header $$name.in -o $$name.lock; done

minio: setup-test ## build MinIO

clean: ## remove what set-up made here (the cache stays)
	@rm -rf $(VENV) lake-demo lake-demo-data

$(VENV)/.uv: requirements-uv.lock
	@jobs/setup.sh system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python 3.11 or newer is needed: make PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.setup: $(VENV)/.uv requirements.lock pyproject.toml lake/jvm/jars.lock
	@echo "installing packages …" >&2
	@$(UV) install -q --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -m lake.jvm.resolve
	@$(BIN)/python -m lake.jvm.archive
	@touch $@

$(VENV)/.setup-test: $(VENV)/.setup requirements-dev.lock tests/support/build_minio.py
	@jobs/setup.sh test
	@$(UV) install -q --compile-bytecode --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m lake.jvm.resolve --s3
	@$(BIN)/python -m tests.support.build_minio || { $(UV) install -q --compile-bytecode --require-hashes -r requirements-go.lock && $(BIN)/python -m tests.support.build_minio; }
	@touch $@
