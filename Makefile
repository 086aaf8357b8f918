# Two commands set everything up: `make demo` and `make test` need nothing but Python 3.11+ and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench bench-long quality clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "anomalyd needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# One stamp per set of extras: installed once, again when the pins or the project change.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing anomalyd into $(VENV) ..."
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing anomalyd and what its tests need into $(VENV) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.training: $(VENV)/.dev
	@echo "installing TensorFlow into $(VENV) ..."
	@$(PIP) -e '.[dev,training]'
	@touch $@

demo: $(VENV)/.demo  ## a simulated plant, a broker and the daemon: SECONDS=40 ends it, JSON=out.json keeps the summary
	@$(BIN)/anomalyd demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(JSON),--json $(JSON)) $(if $(SEED),--seed $(SEED))

test: $(VENV)/.dev  ## the fast suite
	$(BIN)/python -m pytest -m "not slow" -n auto $(ARGS)

test-slow: $(VENV)/.training  ## what needs minutes, TensorFlow or a whole machine
	$(BIN)/python -m pytest -m slow --timeout 900 $(ARGS)

check: $(VENV)/.training  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.training  ## the benchmarks, side by side in one run; writes bench.json
	$(BIN)/python -m tests.bench

bench-long: $(VENV)/.training  ## ten minutes at 80 % of the most that comes through: does a queue grow?
	$(BIN)/python -m tests.bench.growth 600

quality: $(VENV)/.training  ## baselines and the default recipe on PACKS=DIR, one table in OUT=build/quality; resumable
	@test -d "$(PACKS)" || { echo "make quality PACKS=DIR: a folder of packs (docs/packs.md), got '$(PACKS)'"; exit 2; }
	@$(BIN)/anomalyd-train quality "$(PACKS)" --out "$(or $(OUT),build/quality)" $(ARGS)

clean:  ## remove what make made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
