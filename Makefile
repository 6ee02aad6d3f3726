# Two commands on a fresh machine: `make quickstart` and `make test`. What they install is not installed again until
# pyproject.toml changes. Without a GPU, PyTorch's CPU packages are a tenth of the size (docs/installation.md):
#     make quickstart PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# what the commands use; `dev` and `bench` are for tests
EXTRAS := scenes,transfer,localize,tensorboard

.PHONY: install install-dev quickstart test test-all lint format docs package test-package clean

install: $(VENV)/installed

install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vggnet needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[dev,bench,docs]'
	@touch $@ $(VENV)/installed

quickstart: install
	$(BIN)/vggnet quickstart

test: install-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: install-dev
	$(BIN)/python -m pytest -m 'slow or not slow'

# the wheel and the source distribution, in dist/
package: install-dev
	rm -rf dist
	$(BIN)/python -m build

# the wheel in a fresh environment with core dependencies only, and the tests from the source distribution
test-package: install-dev
	$(BIN)/python -m pytest -m 'slow or not slow' tests/packaging

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo 'build/docs/index.html'

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
