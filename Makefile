# Every target starts from nothing but Python >= 3.11: it makes .venv and installs what it needs, once.
# Another interpreter: make demo PYTHON=python3.13

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PINS := tools/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench pins

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/stamp-runtime ## learn two bundled real data sets: models, samples and figures in scoremix-demo/
	$(BIN)/scoremix demo --out scoremix-demo

test: $(VENV)/stamp-test ## run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not torch"

check: $(VENV)/stamp-test $(VENV)/stamp-docs ## lint, format, types, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/sphinx-build -E -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python tools/sizes.py

docs: $(VENV)/stamp-docs ## build the documentation in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/stamp-bench ## run the full benchmark (long) and draw its figures
	$(BIN)/python -m benchmarks.run --size full
	$(BIN)/python -m benchmarks.draw

# All that the tools pull in, for every Python and system, but for what the library itself needs: that stays free.
COMPILE = $(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate pyproject.toml
pins: $(VENV)/stamp-test ## take the newest releases of all development tools
	@mkdir -p $(dir $(PINS))
	@free=$$($(COMPILE) --no-header | sed 's/[= ].*//; s/^/--no-emit-package /') && \
	$(COMPILE) --custom-compile-command "make pins" --extra test --extra docs $$free --output-file $(PINS) > /dev/null

# One stamp per set of dependencies; all are out of date when pyproject.toml or a pin changes or .venv is new.
$(VENV)/stamp-runtime: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "installing scoremix and what it needs in $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/stamp-%: pyproject.toml $(PINS) $(VENV)/pyvenv.cfg
	@echo "installing scoremix and its extra '$*' in $(VENV)"
	@$(PIP) install --constraint $(PINS) --editable ".[$*]"
	@touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "scoremix needs Python 3.11 or later; '$(PYTHON)' is not: make ... PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
