# Sets the project up and runs it. Needs git, make and Python 3.11 or newer with venv and pip, and nothing else.
# Whoever prefers uv or pip: pyproject.toml is an ordinary one, and this file is not needed.

# These count when given on the command line (make dev PORT=4000), not when they stand in the environment:
# some shells export HOST, and the UI must not leave the loopback unasked.
PYTHON =
HOST = 127.0.0.1
PORT = 3000
ARGS =
UV = uv

# The environment, the requirements to install into it, and the requirements files these include.
sync dev: FOLDER = .venv
sync dev: REQUIREMENTS = requirements.txt
sync dev: INCLUDED = requirements.txt
test test-ui benchmark: FOLDER = .venv
test test-ui benchmark: REQUIREMENTS = requirements-test.txt
test test-ui benchmark: INCLUDED = requirements.txt requirements-test.txt
test-embedded-elt: FOLDER = .venv-embedded-elt
test-embedded-elt: REQUIREMENTS = requirements-embedded-elt.txt
test-embedded-elt: INCLUDED = requirements-embedded-elt.txt

.PHONY: help sync dev test test-ui test-embedded-elt benchmark requirements clean install
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

sync: ## set up, then load users, channels and messages (without configuration: from the bundled sandbox)
	@$(set_up)
	@$(private_history)
	@.venv/bin/messaging sync $(ARGS)

dev: ## set up, then open Dagster's UI on http://127.0.0.1:3000 (HOST=..., PORT=...)
	@$(set_up)
	@$(private_history)
	@[ -n "$$DAGSTER_HOME" ] || echo "Runs, logs and schedules are kept in .dagster, whatever Dagster says below."
	@.venv/bin/dagster dev --host $(HOST) --port $(PORT) $(ARGS)

test: ## set up, then run the linter, the type checker and all tests
	@$(set_up)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/mypy
	@.venv/bin/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

test-ui: ## use Dagster's UI in a browser, Debian's chromium (ARGS=--pictures takes the pictures of the README anew)
	@$(set_up)
	@.venv/bin/python -m pytest --timeout 300 messaging_assets_tests/ui $(ARGS)

test-embedded-elt: ## the tests that exercise Dagster, with the Dagster that dagster-embedded-elt pins
	@$(set_up)
	@.venv-embedded-elt/bin/python -m pytest --numprocesses auto --dist worksteal -m dagster $(ARGS)

benchmark: ## measure against a hand-written script and plain dlt (ARGS="--quick", ARGS="first-sync unchanged")
	@$(set_up)
	@.venv/bin/python -m benchmarks $(ARGS)

# Dagster makes its files readable by everybody, so the folder around them is not.
private_history = mkdir -p .dagster && chmod 700 .dagster

COMPILE = $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-strip-extras --no-annotate --no-emit-index-url --custom-compile-command 'make requirements' --group build

requirements: ## pin the packages anew (needs uv; ARGS=--upgrade takes the newest)
	$(COMPILE) $(ARGS) --output-file requirements.txt
	$(COMPILE) $(ARGS) --output-file requirements-test.txt --extra test --constraint requirements.txt
	$(COMPILE) $(ARGS) --output-file requirements-embedded-elt.txt --extra test --extra embedded-elt

clean: ## remove the environments and caches, not the data
	rm -rf .venv .venv-embedded-elt .mypy_cache .ruff_cache .hypothesis .pytest_cache .tmp_dagster_home_*
	find benchmarks messaging_assets messaging_assets_tests -type d -name __pycache__ -prune -exec rm -rf {} +

# FOLDER/installed says where the environment was made, and names the requirements files that are completely installed,
# each with a checksum. It is written last. An environment without it, or one that was moved or has lost its Python, is
# made anew.
fingerprint = cat $(1) pyproject.toml | cksum
noted = sed -n 's/^$(1): //p' $(FOLDER)/installed 2>/dev/null
is_usable = [ "$$(pwd -P)" = "$$($(call noted,folder))" ] && $(FOLDER)/bin/python -c '' 2>/dev/null
is_installed = { [ "$$($(call fingerprint,$(REQUIREMENTS)))" = "$$($(call noted,$(REQUIREMENTS)))" ] && $(is_usable); }

# The first of these Pythons that will do, or a message about what is missing.
CANDIDATES = $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14)
PROBE = import sys; from importlib.util import find_spec as has; v = sys.version_info; \
	print("good" if v >= (3, 11) and has("venv") and has("ensurepip") else "python%d.%d" % v[:2] if v >= (3, 11) else "")
find_python = bare=; for python in $(CANDIDATES); do \
		found=$$("$$python" -c '$(PROBE)' 2>/dev/null) || continue; \
		[ "$$found" = good ] && break; \
		bare=$${bare:-$$found}; \
	done; \
	if [ "$$found" != good ] && [ -n "$$bare" ]; then \
		echo "$$bare can't make virtual environments: its venv module is not installed."; \
		echo "On Debian or Ubuntu: apt-get install $$bare-venv"; \
		exit 1; \
	elif [ "$$found" != good ]; then \
		echo "Python 3.11 or newer is needed, and none of these is one: $(CANDIDATES)."; \
		echo "On Debian or Ubuntu: apt-get install python3 python3-venv; or name one: make PYTHON=/path/to/python3 ..."; \
		exit 1; \
	fi >&2

# One set-up at a time in a checkout: the lock is the operating system's and ends with the process that make becomes.
LOCKED = import fcntl, os, sys; lock = os.open("Makefile", os.O_RDONLY); os.set_inheritable(lock, True); \
	fcntl.flock(lock, fcntl.LOCK_EX); os.execvp(sys.argv[1], sys.argv[1:])
set_up = if ! $(is_installed); then \
		$(find_python); \
		echo "Setting up $(FOLDER) with $(REQUIREMENTS) (up to a minute the first time) ..."; \
		"$$python" -c '$(LOCKED)' $(MAKE) --no-print-directory install FOLDER=$(FOLDER) \
			REQUIREMENTS=$(REQUIREMENTS) INCLUDED='$(INCLUDED)' PYTHON="$$python" ARGS= || exit; \
	fi; \
	$(FOLDER)/bin/python -m compileall -q messaging_assets

# Called by set_up. Bytecode is compiled here, by all cores: without it Dagster starts three times as slowly, and
# where PYTHONDONTWRITEBYTECODE is set nobody would compile it later.
PIP = $(FOLDER)/bin/python -m pip --quiet --disable-pip-version-check --no-input
install:
	@if $(is_installed); then exit; fi; set -e; \
	if $(is_usable); then rm $(FOLDER)/installed; else rm -rf $(FOLDER); "$(PYTHON)" -m venv $(FOLDER); fi; \
	$(PIP) install --no-deps --no-compile --require-hashes --requirement $(REQUIREMENTS); \
	$(PIP) install --no-deps --no-compile --no-build-isolation --editable .; \
	$(PIP) check; \
	$(FOLDER)/bin/python -m compileall -q -j 0 $(FOLDER)/lib; \
	{ echo "folder: $$(pwd -P)"; \
	$(foreach file,$(INCLUDED),echo "$(file): $$($(call fingerprint,$(file)))";) } > $(FOLDER)/installing; \
	mv $(FOLDER)/installing $(FOLDER)/installed
