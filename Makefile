# make demo | check | test | quick | lint | docs | bench: each makes .venv first, on a machine that has only git, make and
# python3.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

# Without bytecode every process that a test starts would compile the sources again, and pytest rewrite every test.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check test quick lint format docs bench clean
.DELETE_ON_ERROR:

# make demo TEXT="a bird of prey" searches for that text.
demo: $(VENV)/.installed
	$(BIN)/vsearch demo $(if $(TEXT),--text "$(TEXT)")

# Before every commit: lint, types, and the tests that do not take seconds each. A minute on two idle cores.
check: lint quick

# All of it, as CI does.
test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The tests of `check` alone.
quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation site, into build/site.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build --strict

# DATA: a folder with base.npy and queries.npy; without one, the shipped sample.
bench: $(VENV)/.installed-bench
	$(BIN)/python -m bench.recall $(DATA)
	$(BIN)/python -m bench.search $(DATA)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# One stamp per set of packages, renewed when pyproject.toml changes. pip compiles what it installs to .pyc.
# pip knows dependency groups from 25.1 on, and python3 may bring an older one.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m compileall -q vsearch functions
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group test --group lint
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group docs
	touch $@
