# `make demo` and `make test` work in a fresh clone with nothing made before; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
BOOTSTRAP := .venv-bootstrap
MADE := .venv/.made
LOG := $(BOOTSTRAP)/make-env.log

# tensorflow-recommenders and TFT's layer are Keras 2; TensorFlow reads this at its first import.
export TF_USE_LEGACY_KERAS := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help env demo test experiments half-1 half-2 lint format bench clean

help:
	@echo "make env     the locked environment in .venv (Python 3.11, about 3 GB on disk)"
	@echo "make demo    simulated logs -> trained, served model -> predictions and a summary (at most 8 minutes)"
	@echo "make test    lint, types and every test (at most 20 minutes)"
	@echo "make experiments   TWIN's paper's experiments with every model, small (at most 15 minutes), in runs/experiments-quick"
	@echo "make lint    ruff and mypy alone;  make format  lets ruff rewrite the files"
	@echo "make bench   the measurements behind docs/performance.md"
	@echo "make clean   removes caches and build output; keeps .venv and runs/"

env: $(MADE)

# uv and not pip: tfx 1.16 declares Python < 3.11 although every wheel it needs exists for 3.11, and pip refuses it.
$(MADE): requirements/dev.lock requirements/bootstrap.lock setup.py
	@echo "env: making .venv from requirements/dev.lock (1 to 4 minutes the first time, seconds later; log: $(LOG))"
	@mkdir -p $(BOOTSTRAP); start=$$SECONDS; \
	{ \
	  { [ -x $(BOOTSTRAP)/bin/python ] || $(PYTHON) -m venv $(BOOTSTRAP); } && \
	  $(BOOTSTRAP)/bin/python -m pip install --quiet --require-hashes -r requirements/bootstrap.lock && \
	  { [ -x .venv/bin/python ] || $(BOOTSTRAP)/bin/uv venv --python 3.11 .venv; } && \
	  $(BOOTSTRAP)/bin/uv pip sync --python .venv/bin/python --require-hashes requirements/dev.lock && \
	  $(BOOTSTRAP)/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation --editable . ; \
	} > $(LOG) 2>&1 || { \
	  tail -n 20 $(LOG) >&2; \
	  echo "env: failed; the whole log is $(LOG). Needed: python3 with venv, Python 3.11 (or a network uv can fetch it from), 4 GB of disk." >&2; \
	  exit 1; }; \
	touch $@; echo "env: ready after $$((SECONDS - start)) s"

demo: env
	@$(BIN)/twin demo

test: lint
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

EXPERIMENTS := overall rolling consistency length ablation case efficiency
QUICK := --out runs/experiments-quick --budget quick
# Two halves of the models train at the same time: a small training is mostly tracing, which one core does. The
# experiments find what the halves have measured, and time requests when both are done.
HALVES := half-1 half-2
half-1: MODELS := twin,avg_pooling,din,dien,ubr4ctr,eta,sdim,twin_raw_mhta
half-2: MODELS := mimn,sim_hard,sim_soft,sim_cluster,sim_cluster_plus,twin_without_consistency,twin_without_bias,din_1000
# A command a line, so that what ends make ends the command.
$(HALVES):
	@$(BIN)/twin experiment rolling $(QUICK) --models $(MODELS)
	@$(BIN)/twin experiment consistency $(QUICK) --models $(MODELS)
	@$(BIN)/twin experiment length $(QUICK) --models $(MODELS)
	@$(BIN)/twin experiment case $(QUICK) --models $(MODELS)

experiments: env
	@echo "== preparing the data"; $(BIN)/twin experiment overall $(QUICK) --models avg_pooling > /dev/null
	@echo "== training both halves of the models (some 9 minutes, each silent until it is done)"
	@$(MAKE) --jobs=2 --output-sync=target $(HALVES)
	@for name in $(EXPERIMENTS); do \
	  echo "== twin experiment $$name"; \
	  $(BIN)/twin experiment $$name $(QUICK); \
	done

lint: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: env
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: env
	@for part in preprocess refresh training serving; do echo "== twin bench $$part"; $(BIN)/twin bench $$part; done

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
