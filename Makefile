# Everything happens in .venv; an install is repeated only when pyproject.toml or constraints.txt change.
#   make demo ARGS="--quick --out runs/look"     options of `polymodal demo`
#   make test PYTEST="tests/score -x"            options of pytest
#   make test WORKERS=0                         in one process, for a debugger or a single file
#   make bench BENCH=startup                     one benchmark instead of all
#   PYTHON=python3.12 make demo                  another Python, when .venv is made

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
CANDIDATES := python3.11 python3.12 python3.13 python3
OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(OLD_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
WORKERS := 2
SOURCES := src tests benchmarks examples docs
BENCH := real_data floors training kernels startup clips extraction speech calibration behaviours fuzz_media
BENCH_FILES := $(wildcard $(BENCH:%=benchmarks/%.py))

.PHONY: demo test lint bench docs clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed-text
	@$(BIN)/polymodal demo $(ARGS)

test: lint
	@echo "pytest"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)

lint: $(VENV)/installed-dev
	@echo "style, types, layers"
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/mypy --no-error-summary
	@out=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$out"; exit 1; }

bench: $(VENV)/installed-text
	@test -n "$(BENCH_FILES)" || { echo "no benchmark called $(BENCH) in benchmarks/"; exit 1; }
	@for file in $(BENCH_FILES); do echo "$$file"; $(BIN)/python $$file || exit 1; done

docs: $(VENV)/installed-docs
	@$(BIN)/python docs/make_commands.py && $(BIN)/python docs/make_which.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

clean:
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf src/*.egg-info

$(VENV)/installed-%: pyproject.toml constraints.txt $(VENV)/installed-torch
	@echo "installing polymodal[$*]"
	@$(PIP) -e '.[$*]'
	@touch $@

$(VENV)/installed-torch: constraints.txt | $(BIN)/python
	@echo "installing torch (the longest step, only the first time)"
	@$(PIP) torch
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "polymodal needs Python 3.11 or newer: set PYTHON=/path/to/python"; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
