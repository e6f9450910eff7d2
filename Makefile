# What has a clock is tested apart from what keeps the cores busy.
# `make call` holds a test call, `make test` runs the tests, `make prove` simulates calls and checks
# the laws in each (CALLS=500 SEED=1); all set up a virtual environment.
# Another interpreter: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv

CALLS ?= 500
SEED ?= 1

.PHONY: call test test-sqlalchemy-2.0 prove lint clean

call: $(VENV)/with-serve
	$(VENV)/bin/python -m callengine call

test: $(VENV)/with-test
	$(VENV)/bin/python -m pytest -m 'not realtime' --numprocesses auto
	$(VENV)/bin/python -m pytest -m realtime --numprocesses auto

# The database's tests again, on the older of the two SQLAlchemys that hosts have.
test-sqlalchemy-2.0: $(VENV)/with-test
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'sqlalchemy>=2.0.40,<2.1'
	$(VENV)/bin/python -m pytest tests/store tests/journal

prove: $(VENV)/with-test
	$(VENV)/bin/python -m callengine prove --calls $(CALLS) --seed $(SEED)

lint: $(VENV)/with-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build call-report *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "callengine needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/with-%: $(VENV)/bin/python setup.cfg pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
