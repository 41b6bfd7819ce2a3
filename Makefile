# make tour    the main job, on real input
# make test    builds, C tests (plain, and with address and undefined sanitizers), pytest
#
# make bench   the workloads against rocksdict, plyvel, lmdb and sqlite3 (ARGS="--quick", "--workloads readseq,ycsb_a")
#
# Longer than the tests of every change (tests/CAMPAIGNS.md):
# make crashes    a million crashes and recoveries (CYCLES=, SEED=)
# make hostile    files changed under right checksums, many of them (ARGS="100000 5000": first seed, count)
# make flips      a hundred thousand flipped bits in files of every kind (FLIPS=, SEED=)
# make refleak    whether calls of the binding keep references, best with a debug build of CPython
# make coverage   lines and branches that the C tests run (ARGS="--missing wal/")
# make mutants    deliberate defects, and which tests catch them (ARGS="name --named-only")
#
# All make the machine ready first (tools/setup.sh). PYTHON=/path/to/python3 names the interpreter.
PYTHON ?= python3
VENV := .venv
CYCLES ?= 1000000
FLIPS ?= 100000
SEED ?= 1
JOBS := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
SOURCES := $(wildcard csrc/*/*.[ch]) $(wildcard setup.py pyproject.toml)
C_FILES := $(wildcard csrc/*/*.[ch] tests/c/*.[ch] tests/c/*/*.[ch])

.PHONY: tour test bench build setup ctest ctest-sanitize ctest-thread pytest lint clean crashes flips hostile coverage mutants refleak

tour: build
	@$(VENV)/bin/python -m nori_lsm tour --path build/tour

test: build
	@$(MAKE) --silent --no-print-directory $(VENV)/.test-tools
	@$(MAKE) --silent --no-print-directory ctest
	@$(MAKE) --silent --no-print-directory ctest-sanitize
	@$(MAKE) --silent --no-print-directory pytest

hostile: build
	@$(MAKE) --silent --no-print-directory $(VENV)/.test-tools
	@PYTHONPATH=tests $(VENV)/bin/python tests/forge_changes.py $(ARGS)

refleak: build
	@PYTHONPATH=tests $(VENV)/bin/python tests/refleak.py

bench: build
	@$(MAKE) --silent --no-print-directory $(VENV)/.bench-tools
	@$(VENV)/bin/python -m benchmarks $(ARGS)

# The extension, compiled anew when a source changed. The second make sees what setup left.
build: setup
	@$(MAKE) --silent --no-print-directory $(VENV)/.built

setup:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" tools/setup.sh

$(VENV)/.built: $(SOURCES)
	@echo "Building nori_lsm"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test-tools: Makefile
	@$(PIP) install pytest hypothesis xxhash lz4 zstandard
	@$(PIP) install matplotlib || echo "No matplotlib here: the tests of pictures and of the notebook are skipped"
	@for library in pyarrow polars; do $(PIP) install --only-binary :all: $$library || \
		echo "No $$library here: the tests that use it are skipped"; done
	@touch $@

$(VENV)/.bench-tools: benchmarks/requirements.txt
	@$(PIP) install -r $<
	@touch $@

$(VENV)/.lint-tools:
	@$(PIP) install mypy ruff hypothesis
	@touch $@

ctest:
	@$(MAKE) --silent --no-print-directory -C tests/c -j$(JOBS) MODE=plain
ctest-sanitize:
	@$(MAKE) --silent --no-print-directory -C tests/c -j$(JOBS) MODE=sanitize
ctest-thread:
	@$(MAKE) --silent --no-print-directory -C tests/c -j$(JOBS) MODE=thread

crashes:
	@NR_CYCLES=$(CYCLES) NR_SEED=$(SEED) $(MAKE) --silent --no-print-directory ctest ONLY=engine/test_random_crashes
flips:
	@NR_FLIPS=$(FLIPS) NR_SEED=$(SEED) $(MAKE) --silent --no-print-directory ctest ONLY=engine/test_random_flips
coverage:
	@find build/c-coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) --silent --no-print-directory -C tests/c -j$(JOBS) MODE=coverage
	@$(PYTHON) tests/coverage.py build/c-coverage $(ARGS)
mutants: build
	@$(MAKE) --silent --no-print-directory $(VENV)/.test-tools
	@$(VENV)/bin/python tests/mutants/run.py $(ARGS)

# ARGS goes to pytest: make pytest ARGS="-k config"; ONLY to the C tests: make ctest ONLY=table/
pytest:
	@$(VENV)/bin/python -m pytest tests $(ARGS)

lint: build
	@$(MAKE) --silent --no-print-directory $(VENV)/.lint-tools
	@clang-format --dry-run --Werror $(C_FILES)
	$(VENV)/bin/ruff check --select F,UP,B nori_lsm tests
	$(VENV)/bin/mypy --strict --no-warn-unused-ignores nori_lsm

clean:
	rm -rf build dist *.egg-info nori_lsm/*.so $(VENV)/.built
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
