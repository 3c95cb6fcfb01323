# `make demo` and `make test` set up everything they need; `make help` lists the rest.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
VENV := .venv
BIN := $(VENV)/bin
SNAKEMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --cores $(CORES)

.PHONY: help env demo demo-full demo-check readme test test-cluster check format bench lock clean

help:
	@echo 'make env         the environment alone, as on a cluster (docs/cluster.md)'
	@echo 'make demo        train eight small models on this machine, measure them, judge the claims, draw and report'
	@echo 'make demo-full   the same with three seeds of every model and three layers: hours'
	@echo 'make demo-check  hold the results of the demo against what they must show'
	@echo 'make test        run the tests'
	@echo 'make test-cluster  the same of the workflow on a SLURM cluster that is started on this machine (root, Debian)'
	@echo 'make check       formatting, lint, types, snakemake --lint'
	@echo 'make readme      fill README.md with what the last run measured'
	@echo 'make bench       measure this code against its peers'
	@echo 'make lock        resolve the dependencies of pyproject.toml again'
	@echo 'make clean       delete the results (not the environment)'
	@echo 'Variables: PYTHON=$(PYTHON)  CORES=$(CORES)'

env: $(VENV)/.run
	@echo 'The environment is there: . $(VENV)/bin/activate'

demo: $(VENV)/.run
	@$(SNAKEMAKE)
	@echo && echo 'The figures:' && ls -1 results/figures/*.pdf && echo 'All of it in one page: results/report.html'

demo-full: $(VENV)/.run
	@$(SNAKEMAKE) --config study=demo-full
	@echo && echo 'The report: results/report.html'

demo-check: $(VENV)/.run
	@$(BIN)/induction check

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# Installs Debian's packages of SLURM and of its database where they are missing, and starts them for the time of the tests.
test-cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -m cluster tests/cluster

check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests docs
	$(BIN)/ruff check src tests docs
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	@$(SNAKEMAKE) --lint

format: $(VENV)/.dev
	$(BIN)/ruff format src tests docs
	$(BIN)/ruff check --fix src tests docs
	$(BIN)/snakefmt Snakefile workflow
	$(BIN)/induction schema --out config/schema

readme: $(VENV)/.run
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/fill.py

bench: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/startup.py
	$(BIN)/python tests/benchmarks/train.py
	$(BIN)/python tests/benchmarks/measure.py --json docs/measure.json

# The environment: made from the lock file, and made anew when it changes. Every file that pip downloads for it must have
# one of the hashes there. torch alone is pinned without one, in pyproject.toml: which of its builds is installed, with
# CUDA or without, depends on where pip is pointed at (PIP_EXTRA_INDEX_URL, see the README).
TORCH = $(shell sed -nE 's/^ *"(torch==[^"]+)",$$/\1/p' pyproject.toml)
PIP = $(BIN)/python -m pip install --quiet
LOCKED = --require-hashes --no-deps --requirement
$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'induction needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo 'could not make an environment; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(PIP) $(LOCKED) requirements.lock
	$(PIP) $(TORCH)
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) $(LOCKED) requirements-dev.lock
	@touch $@

# Versions and hashes for every platform and Python at once. torch stays out (see above), and so does what it alone needs
# (CUDA libraries, triton): torch pins those itself, and its CPU build has none of them. The second file starts from the
# first, so that what both name has one version.
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
    --no-header --no-annotate --generate-hashes pyproject.toml
NOT_LOCKED = /^(torch==|nvidia-|cuda-|triton|httpx2-jsfetch)/,/[^\\]$$/d
lock:
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv
	$(UV_COMPILE) --upgrade --output-file requirements.lock && sed -i -E '$(NOT_LOCKED)' requirements.lock
	cp requirements.lock requirements-dev.lock
	$(UV_COMPILE) --extra dev --output-file requirements-dev.lock && sed -i -E '$(NOT_LOCKED)' requirements-dev.lock

clean:
	rm -rf results/corpora results/models results/tables results/figures results/logs results/draft results/claims.md \
	    results/report.html
