# Two commands do everything: `make demo` and `make test`. Both create what they need in .venv. While you write,
# `make quick` runs what is fast of every room's tests.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
VENV := .venv
BIN := $(VENV)/bin
# Tests run in so many processes, one thread each: threads of several processes that wait for each other cost more.
JOBS ?= 2
SHELL := /bin/bash
# Threads that wait sleep: on a busy machine those that spin keep others, and their own, from working.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test quick check lint types imports clean

demo: $(VENV)/installed
	$(BIN)/sapool fit

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# In under two minutes on two cores; what exports, trains or starts other programs is left to `make test`.
quick: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow"

check: lint types imports

lint: $(VENV)/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(VENV)/installed
	$(BIN)/mypy

imports: $(VENV)/installed
	$(BIN)/lint-imports

# Written last, so that an interrupted installation is done again.
$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 is needed; say make PYTHON=path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist
