# Sekisho needs Python 3.11 to 3.14 with venv, git and make. Everything else is installed into .venv from requirements.lock.

PYTHON    ?= python3
PIP_FLAGS ?=
OUT       ?= out

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/installed
EXAMPLE := examples/food-quality

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help pilot pilot-full test proof lint types demo-reset clean

help:
	@echo "make pilot       five food makers train two classifiers together; prints where the report is"
	@echo "make pilot-full  the same with adapters in every layer; half an hour or so"
	@echo "make test        the tests"
	@echo "make proof       the slow proofs"
	@echo "make lint        style and types"
	@echo "make types       types alone"
	@echo "make demo-reset  give the demo its budget back (demo rosters only)"
	@echo "make clean       remove the environment and caches; reports, budgets and logs stay"

pilot: $(STAMP)
	@$(BIN)/sekisho pilot $(EXAMPLE) --out $(OUT)

# In a copy of the example with a budget of its own, whose study is study-full.yaml; takes about half an hour on two cores.
FULL := $(OUT)-full/study
pilot-full: $(STAMP)
	@test -e $(FULL)/study.yaml || { mkdir -p $(FULL) && cp -R $(EXAMPLE)/. $(FULL) && cd $(FULL) && \
	  rm -rf baselines.json coordinator stops revocations sites/*/state && for end in yaml yaml.dsse.json; do mv study-full.$$end study.$$end; done; }
	@$(BIN)/sekisho pilot $(FULL) --out $(OUT)-full

# Two workers fill two cores. With threads of their own as well they wait for one another in busy loops: the tests of
# gradients took four times the processor time.
test proof: export OMP_NUM_THREADS = 1

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not proof"

proof: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m proof

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

types: $(STAMP)
	@$(BIN)/mypy

demo-reset: $(STAMP)
	@$(BIN)/sekisho study reset-demo $(EXAMPLE)

# Not out/: a report cannot be made again once its budget is spent. Not state/: that is the budget.
clean:
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation is taken up again by the next make.
$(STAMP): requirements.lock pyproject.toml | $(BIN)/pip
	@echo "sekisho: installing into $(VENV), some minutes the first time (to watch it: make PIP_FLAGS=-v $(MAKECMDGOALS))"
	@$(BIN)/pip install -q $(PIP_FLAGS) -r requirements.lock
	@$(BIN)/pip install -q $(PIP_FLAGS) --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || { \
	  echo "sekisho: error: needs Python 3.11 to 3.14, and '$(PYTHON)' is not one" >&2; \
	  echo "sekisho: hint: name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
