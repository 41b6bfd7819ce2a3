# make tour    the main job, on real input
# make test    builds, C tests (plain, and with address and undefined sanitizers), pytest
#
# make bench   the workloads against rocksdict, plyvel, lmdb and sqlite3 (ARGS="--quick", "--workloads readseq,ycsb_a")
#
# Longer than the tests of every change (tests/README.md):
# make crashes    a million crashes and recoveries (CYCLES=, SEED=)
# make flips      a hundred thousand flipped bits in files of every kind (FLIPS=, SEED=)
# make hostile    files changed under right checksums, many of them (ARGS="100000 5000": first seed, count)
# make fuzz       every file format under libFuzzer (FUZZ_SECONDS=60 each, TARGETS="wal table"); make fuzz-keep
# make soak       a mixed load killed over and over, and judged (ARGS="--kills 500 --minutes 60 --seed 1")
# make powercut   the same on an ext4 that is shut down under it; needs root (ARGS="--cuts 200")
# make linear     many threads on a few keys: is what they saw linearizable? (ARGS="--runs 20 --threads 64")
# make ubsan      the C tests under clang's undefined behaviour sanitizer
# make tsan       the concurrent C tests under the thread sanitizer (LOOPS=3)
# make valgrind   C tests under memcheck
# make refleak    whether calls of the binding keep references: with a debug build of CPython all are counted
# make pydebug    the Python tests under a debug build of CPython, whose assertions find misuse of its API (ARGS=)
# make coverage   lines and branches that the C tests run (ARGS="--missing wal/")
# make mutants    deliberate defects, and which tests catch them (ARGS="name --named-only")
#
# DEBUG_PYTHON=/path/to/python3-dbg names the debug build (Debian: apt install python3-dbg).
# All make the machine ready first (tools/setup.sh). PYTHON=/path/to/python3 names the interpreter.
PYTHON ?= python3
VENV := .venv
CYCLES ?= 1000000
FLIPS ?= 100000
SEED ?= 1
JOBS := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
# A debug build of CPython, and an environment of its own for it: it has another ABI.
DEBUG_PYTHON ?= $(firstword $(foreach name,python3-dbg python3.14d python3.13d python3.12d python3.11d python3.10d,\
	$(shell command -v $(name))))
DEBUG_VENV := build/venv-debug
SOURCES := $(wildcard csrc/*/*.[ch]) $(wildcard setup.py pyproject.toml)
C_FILES := $(wildcard csrc/*/*.[ch] tests/c/*.[ch] tests/c/*/*.[ch] tests/fuzz/*.[ch] tests/campaigns/*.[ch])
C_TESTS := $(MAKE) --silent --no-print-directory -C tests/c -j$(JOBS)
CLANG ?= clang
FUZZ_SECONDS ?= 60
FUZZ_BUILD := $(CURDIR)/build/c-fuzz
LOOPS ?= 1
# The C tests that start threads; and one or more of each layer, for memcheck, which is slow.
CONCURRENT := test_epoch test_event test_lock test_posix io/test_simdisk wal/test_wal test_memtable_concurrent test_block_cache \
	test_table_cache test_engine_outside test_engine_threads test_ingest test_no_wait test_pressure test_kill
REPRESENTATIVE := base/ format/ io/test_simdisk test_record test_recover test_batch memtable/test_memtable \
	test_tombstones table/test_table test_ribbon test_edit version/test_manifest test_heat_file test_merge \
	engine/test_checkpoint engine/test_events engine/test_ingest engine/test_options fuzz/replay

.PHONY: tour test bench build setup ctest ctest-sanitize ctest-thread pytest lint clean crashes flips hostile refleak \
	coverage mutants fuzz fuzz-keep fuzzer soak powercut linear tsan ubsan valgrind pydebug debug-build

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

ifneq ($(DEBUG_PYTHON),)
refleak: debug-build
	@PYTHONPATH=tests $(DEBUG_VENV)/bin/python tests/refleak.py
else
refleak: build
	@echo "No debug build of CPython here: blocks are counted, references are not"
	@PYTHONPATH=tests $(VENV)/bin/python tests/refleak.py
endif

pydebug: debug-build
	@$(DEBUG_VENV)/bin/python -m pytest tests $(ARGS)
debug-build:
	@test -n "$(DEBUG_PYTHON)" || { echo "There is no debug build of CPython here (Debian: apt install python3-dbg)"; exit 1; }
	@$(MAKE) --silent --no-print-directory PYTHON=$(DEBUG_PYTHON) VENV=$(DEBUG_VENV) build $(DEBUG_VENV)/.debug-tools
$(DEBUG_VENV)/.debug-tools:
	@$(PIP) install pytest hypothesis xxhash lz4 zstandard fsspec
	@touch $@

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
	@$(PIP) install pytest hypothesis xxhash lz4 zstandard fsspec
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
	@$(C_TESTS) MODE=plain
ctest-sanitize:
	@$(C_TESTS) MODE=sanitize
ctest-thread:
	@$(C_TESTS) MODE=thread

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

fuzzer:
	@command -v $(CLANG) >/dev/null || { echo "Fuzzing needs clang with libFuzzer (Debian: apt install clang)"; exit 1; }
	@$(C_TESTS) MODE=fuzz CC=$(CLANG) BUILD=$(FUZZ_BUILD) fuzzer
fuzz: build $(VENV)/.fuzz-tools fuzzer
	@PYTHON=$(VENV)/bin/python tests/fuzz/run.sh $(FUZZ_BUILD) $(FUZZ_SECONDS) $(TARGETS)
fuzz-keep: build $(VENV)/.fuzz-tools fuzzer
	@PYTHON=$(VENV)/bin/python tests/fuzz/run.sh $(FUZZ_BUILD) keep $(TARGETS)
$(VENV)/.fuzz-tools:
	@$(PIP) install --only-binary :all: atheris || echo "No atheris here: the lists of backups are not fuzzed"
	@touch $@

soak powercut: build
	@$(VENV)/bin/python -m tests.campaigns.$@ $(ARGS)
linear: build
	@$(C_TESTS) recorder
	@$(VENV)/bin/python -m tests.campaigns.linear build/c-plain/tests/campaigns/linear $(ARGS)

ubsan:
	@command -v $(CLANG) >/dev/null || { echo "There is no clang here (Debian: apt install clang)"; exit 1; }
	@$(C_TESTS) MODE=ubsan CC=$(CLANG)
tsan:
	@$(C_TESTS) MODE=thread ONLY="$(CONCURRENT)" build
	@for loop in $$(seq $(LOOPS)); do $(C_TESTS) MODE=thread ONLY="$(CONCURRENT)" || exit 1; done
valgrind:
	@command -v valgrind >/dev/null || { echo "There is no valgrind here (Debian: apt install valgrind)"; exit 1; }
	@$(C_TESTS) ONLY="$(REPRESENTATIVE)" RUN="valgrind -q --error-exitcode=9 --leak-check=full"

lint: build
	@$(MAKE) --silent --no-print-directory $(VENV)/.lint-tools
	@clang-format --dry-run --Werror $(C_FILES)
	$(VENV)/bin/ruff check --select F,UP,B nori_lsm tests
	$(VENV)/bin/mypy --strict --no-warn-unused-ignores nori_lsm

clean:
	rm -rf build dist *.egg-info nori_lsm/*.so $(VENV)/.built
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
