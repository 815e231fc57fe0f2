# `make demo` and `make test` are all that a machine with Python 3.11 or later and make needs.

PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
CODE := $(sort $(patsubst %/,%,$(dir $(wildcard prohibit_jax/*.py launch/*.py serve/*.py bench/*.py))))

# The jax line follows from Python's version (pyproject.toml says how); so does the set of pinned versions.
PINS = constraints/$$($(BIN)/python -c 'import sys; print("python3.11" if sys.version_info < (3, 12) else "python3.13")').txt

.PHONY: install demo test quick coverage peers lint format notebooks reproduction pins clean

install: .venv/installed

# Made once, and again when what it depends on changes.
.venv/installed: pyproject.toml $(wildcard constraints/*.txt)
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Installing into .venv; about a minute, once"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(PINS) --editable '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/launch demo

# As many test processes as cores and memory allow; TIMEOUT_SCALE=3 waits longer for what may hang.
PYTEST = -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: .venv/installed .venv/clients/installed
	$(BIN)/python $(PYTEST)

# Something of every room: what one runs before each commit.
quick: .venv/installed
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/python $(PYTEST) @tests/quick.txt

# Lines of the product that the suite runs, in its own process and in those that it starts.
coverage: .venv/installed .venv/clients/installed
	@mkdir -p .cache/coverage
	$(BIN)/python $(PYTEST) --cov --cov-report=term:skip-covered

# The libraries that `launch bench` and parity tests run beside ours; PyTorch alone may take gigabytes.
peers: .venv/peers
.venv/peers: .venv/installed
	@echo "Installing the peers into .venv; some minutes, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(PINS) --editable '.[dev,bench]'
	@touch $@

# The clients that the service is tested with want other versions of what we use, so they live apart.
.venv/clients/installed: constraints/clients.txt .venv/installed
	@echo "Installing the test clients into .venv/clients; half a minute, once"
	$(BIN)/python -m venv --clear .venv/clients
	.venv/clients/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< \
		'tritonclient[http]' kserve schemathesis
	@touch $@

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(CODE)

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Runs them and keeps what they show; a test compares what is kept with the cells.
notebooks: .venv/installed
	$(BIN)/python notebooks/execute.py

# Measures the published claims again, hours of it, and writes docs/reproduction.md: make reproduction DATA=folder:PHOTOS
reproduction: .venv/installed
	$(BIN)/python -m bench.reproduction --data $(DATA) --store reproduction

# The newest versions that pyproject.toml allows, for the Python that .venv has.
pins: .venv/installed
	$(BIN)/python -m venv --clear .venv/pins
	.venv/pins/bin/python -m pip install --quiet --editable '.[dev,bench]'
	.venv/pins/bin/python -m pip freeze --exclude-editable | sed 's/+.*//' > $(PINS)
	rm -r .venv/pins

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
