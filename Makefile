# Every target sets up what it needs in .venv; stamps there make a repeated call cost nothing.

VENV := .venv
PY := $(VENV)/bin/python
PACKAGES := agentsim solvers privacy scenarios
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-compile
# pip compiles on one core, which takes longer than the download.
COMPILE := $(PY) -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true

# Problem files that the tests and benchmarks read when they are there.
ifneq ($(wildcard ../shared/instances),)
export AGENTSIM_INSTANCES ?= $(abspath ../shared/instances)
endif

.PHONY: help setup demo test lint docs figures pictures bench explore fuzz mutants lock clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

help:
	@echo "make demo    guided tour (installs the core only)"
	@echo "make setup   environment in .venv with all extras and the tools"
	@echo "make test    tests and doctests"
	@echo "make lint    ruff and mypy"
	@echo "make docs    documentation, in docs/_build/html"
	@echo "make figures run what the documentation has no results of yet (an hour or more)"
	@echo "make pictures take the documentation's screenshots again (needs Chromium)"
	@echo "make bench   benchmarks, beside those kept (KEEP=1: keep these)"
	@echo "make explore a million runs of the complete solvers under rare schedules (hours; goes on where it was stopped)"
	@echo "make fuzz    every reader under coverage-guided fuzzing (Linux; an hour and more)"
	@echo "make mutants how many small faults put into each package its own tests find (hours)"
	@echo "make lock    pin dependencies anew (UPGRADE=1: the newest ones)"
	@echo "make clean   remove caches and build output, keep .venv"

setup: $(VENV)/.all-stamp $(VENV)/.linked-stamp

demo: $(VENV)/.core-stamp $(VENV)/.linked-stamp
	@$(VENV)/bin/agentsim demo

test: setup
	$(PY) -m pytest -n auto --doctest-modules tests $(PACKAGES)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict $(PACKAGES)

docs: setup
	$(PY) -m sphinx -q -W --keep-going -d docs/_build/doctrees -b html docs docs/_build/html

figures: setup
	$(PY) -m scenarios.documentation figures

pictures: setup
	$(PY) -m scenarios.documentation pictures

bench: setup
	$(PY) tests/benchmarks/run.py $(if $(KEEP),--keep)

RUNS ?= 91000
explore: setup
	$(VENV)/bin/agentsim explore random --algo complete --runs $(RUNS) -o results/explored

fuzz: setup
	for reader in $$(cd tests/fuzz && ../../$(PY) -c "from readers import READERS; print(*READERS)"); do \
		runs=1000000; [ $$reader = part ] && runs=20000; \
		$(PY) tests/fuzz/run.py $$reader --runs $$runs --keep results/fuzz --corpus results/fuzz/corpora || found=1; \
	done; [ -z "$$found" ]

mutants: setup
	for package in agentsim/dcop agentsim/runtime agentsim/record solvers privacy; do \
		$(PY) tests/mutation/run.py $$package --mutants 500 -o results/mutants/$$package || exit 1; \
	done

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis docs/_build docs/generated
	rm -f demo.html demo.amlog
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The versions in core.txt and build.txt are those of all.txt, so that one environment can grow into the other.
UV_COMPILE = $(VENV)/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: setup
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) --all-extras pyproject.toml -o requirements/all.txt
	$(UV_COMPILE) -c requirements/all.txt pyproject.toml -o requirements/core.txt
	echo hatchling | $(UV_COMPILE) -c requirements/all.txt - -o requirements/build.txt

# A candidate must run (a shim may only exist), be new enough, and be able to make an environment.
define FIND_PYTHON
bare=; \
for python in $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python3.14); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { bare=$$python; continue; }; \
	found=$$python; break; \
done; \
if [ -z "$$found" ]; then \
	if [ -n "$$bare" ]; then \
		echo "agentsim: $$bare cannot make environments (no venv or ensurepip); on Debian: apt-get install python3-venv" >&2; \
	else \
		echo "agentsim needs Python 3.11 or later and found none; install it or say: make PYTHON=/path/to/python" >&2; \
	fi; \
	exit 1; \
fi
endef

$(PY):
	@found=; $(FIND_PYTHON); \
	echo "making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# An environment that somebody made otherwise is used as it is, unless something of the core is missing.
define CORE_IS_THERE
import re, sys, tomllib
from importlib.metadata import PackageNotFoundError, version
try:
    for requirement in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
        version(re.match(r"[\w.-]+", requirement)[0])
except PackageNotFoundError:
    sys.exit(1)
endef
export CORE_IS_THERE

$(VENV)/.core-stamp: requirements/core.txt requirements/build.txt | $(PY)
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "agentsim needs Python 3.11 or later; $(VENV) holds $$($(PY) --version)" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@if ! $(PY) -c "$$CORE_IS_THERE"; then \
		echo "installing the core"; \
		$(PIP) --require-hashes -r requirements/core.txt -r requirements/build.txt && { $(COMPILE); }; \
	elif ! $(PY) -c "import hatchling" 2>/dev/null; then \
		$(PIP) --require-hashes -r requirements/build.txt; \
	fi
	@touch $@

$(VENV)/.all-stamp: requirements/all.txt | $(VENV)/.core-stamp
	@echo "installing all extras and the tools"
	@$(PIP) --require-hashes -r requirements/all.txt
	@$(COMPILE)
	@touch $@

# The entry points and the command: anew whenever pyproject.toml changes.
$(VENV)/.linked-stamp: pyproject.toml | $(VENV)/.core-stamp
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
