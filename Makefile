# make         build, test and lint
# make demo    train on the built-in names and print 20 new ones
# make test    the quick tests: at most 150 seconds on two cores
# make proof   the slow tests: builds, browsers, other Pythons, load, kills, whole recorded runs
# make soak    every test, the longest ones too
# make lint    check the form of the Python, C++ and JavaScript sources
# make tidy    look for mistakes in the C++ sources with clang-tidy 14; takes a minute
# make bench   measure this machine, rewrite the tables, add a line to benchmarks/history.jsonl
# make plots   draw the growth of the engines, and validation loss against time
# make docs    build the documentation
# Each target works from a bare clone: the first one creates the environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NATIVE := $(shell find src/native -name '*.[ch]pp')
CPLUSPLUS := $(NATIVE) $(shell find tests/native -name '*.[ch]pp')
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: all build demo test proof soak bench plots lint lint-cpp lint-js tidy docs clean

all: build test lint

build: $(INSTALLED)

$(INSTALLED): pyproject.toml CMakeLists.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit("microgpt needs Python 3.11 or later; make PYTHON=python3.12 chooses one" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: build
	$(BIN)/microgpt train

test: build
	$(PYTEST)

proof: build
	$(PYTEST) -m "proof and not soak"

soak: build
	$(BIN)/python -m pytest -m "" --timeout 0

bench: build
	$(BIN)/python benchmarks/update.py
	$(BIN)/python benchmarks/history.py compare

plots: build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'matplotlib>=3.8'
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/quality.py $(LISTS)
	$(BIN)/python benchmarks/update.py --tables

lint: build lint-cpp lint-js
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# A tool that is not installed is an error where MICROGPT_REQUIRE names it, else a message.
missing = case ",$$MICROGPT_REQUIRE," in *,$(1),*) echo "$(1) is required here: $(2)" >&2; exit 1;; *) echo "skipped: $(2)";; esac

lint-cpp: build
	@if [ -x $(BIN)/clang-format ]; then $(BIN)/clang-format --dry-run --Werror $(CPLUSPLUS); \
	else $(call missing,clang-format,the C++ sources are not checked because the package clang-format is not installed in $(VENV)); fi

lint-js:
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund && npm run --silent lint; \
	else $(call missing,npm,the JavaScript sources are not checked because npm is not installed); fi

CLANG_TIDY ?= clang-tidy
TIDY := $(wildcard src/native/[cems]*.cpp src/native/exact/exact.cpp src/native/fast/[esw]*.cpp)

tidy:
	$(CLANG_TIDY) --quiet $(TIDY) -- -std=c++20 -DMICROGPT_AVX2

docs: build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs,journey]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist node_modules .pytest_cache .hypothesis .mypy_cache .ruff_cache
