# Everything a newcomer needs: `make demo`, `make test`. Each does its own set-up, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-s3 setup-test demo test test-unit test-faults bench lint lock minio clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
export PYTHONSAFEPATH := 1

help: ## say what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.setup ## all that is needed to run: packages, Java, ffmpeg, JARs; leaves .venv/bin/lake
	@$(BIN)/python -m lake.jvm.resolve
	@$(BIN)/python -m lake.jvm.archive

setup-s3: setup ## what a root on MinIO or another S3 needs besides
	@$(BIN)/python -m lake.jvm.resolve --s3
	@$(BIN)/python -m lake.jvm.archive --s3

setup-test: setup-s3 $(VENV)/.setup-test ## all that is needed to test: setup, test packages, a JDK, MinIO
	@$(BIN)/python -m tests.support.build_minio

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
	@for name in requirements requirements-dev requirements-go requirements-ray; do \
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

# Stamps stand for what lies in .venv. What lies in the cache is looked at by every set-up, so a lost cache comes back.
$(VENV)/.setup: $(VENV)/.uv requirements.lock pyproject.toml
	@echo "installing packages …" >&2
	@$(UV) install -q --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.setup-test: $(VENV)/.setup requirements-dev.lock requirements-go.lock
	@jobs/setup.sh test
	@$(UV) install -q --compile-bytecode --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m tests.support.build_minio --has-go || $(UV) install -q --compile-bytecode --require-hashes -r requirements-go.lock
	@touch $@
