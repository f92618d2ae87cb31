# make demo   train on the built-in names and print 20 new ones       make test   run the tests
# make        build, test and lint                                    make soak   the long tests too
# make bench  measure this machine and rewrite the tables                make plots  growth, held-out loss against time
# Both work from a bare clone: they make the environment in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml $(wildcard CMakeLists.txt src/native/*)

.PHONY: all build demo test soak bench plots lint docs clean

all: build test lint

build: $(INSTALLED)

$(INSTALLED): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit("microgpt needs Python 3.11 or later; make PYTHON=python3.12 chooses one" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: build
	$(BIN)/microgpt train

test: build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses auto --dist loadfile

soak: build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m "soak or not soak" --timeout 0

bench: build
	$(BIN)/python benchmarks/update.py

plots: build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'matplotlib>=3.8'
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/quality.py $(LISTS)
	$(BIN)/python benchmarks/update.py --tables

lint: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs,journey]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
