# make demo: set up and run the main job on simulated ECGs.  make test: set up and run the tests.
# Both may be run again; both work offline once the packages are installed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	@echo "== running the demo: results go to ./demo"
	$(BIN)/ecgprism demo --out demo

test: $(VENV)/.installed-dev
	@echo "== running the tests"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	@echo "== making a virtual environment in $(VENV) (Python 3.11 or newer)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing ecgprism into $(VENV) (a few minutes at the first time)"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing ecgprism and what its tests need into $(VENV) (a few minutes at the first time)"
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo
