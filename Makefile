# Everything a developer types. `make help` lists the verbs; CI calls the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

# The environment is ready when this file is newer than what describes it, the extension when it is newer than its source.
ENVIRONMENT := $(VENV)/.environment
EXTENSION := $(VENV)/.extension

# What libFuzzer needs to know of a program, without a nightly toolchain or cargo-fuzz. A stable toolchain has the
# sanitizers, too, but not the option to use them: hence RUSTC_BOOTSTRAP below.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
TARGET ?= encode
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-rust test-python handout lint format bench gpu fuzz asan miri wheel docs clean

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup  ## train a tokenizer and a model on this Python's own source, and read what the model writes (4 minutes)
	$(BIN)/cs336 demo $(ARGS)

test: test-rust test-python  ## run all tests

test-rust: $(ENVIRONMENT)
	cargo test --locked --quiet -p bpe -p bpe-fuzz

test-python: setup
	$(BIN)/python -m pytest $(ARGS)

handout: setup  ## run the course's public tests against this package: make handout SUITE=path/to/assignment
	@test -n "$(SUITE)" || { echo "name the checkout of the assignment: make handout SUITE=path" >&2; exit 2; }
	$(BIN)/python tests/handout/run.py "$(SUITE)" $(ARGS)

lint: setup  ## check format, lints and types of both languages, and the documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet -p bpe --no-deps --document-private-items
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest cs336._bpe

format: setup  ## put both languages in order
	cargo fmt --all
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format

bench: setup  ## time us beside our peers, tables and plots to bench-results/ (installs them first): ARGS="--text FILE ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]' --no-build-isolation
	$(BIN)/python benches/train_bpe.py --out bench-results $(ARGS)
	$(BIN)/python benches/superbpe.py --out bench-results $(ARGS)
	$(BIN)/python benches/encode.py --out bench-results $(ARGS)

gpu: setup  ## all that needs a CUDA GPU: its tests, then a training step beside nanoGPT's, tables to bench-results/
	$(BIN)/python -m pytest -m gpu -rs
	$(BIN)/python benches/train_step.py --preset h200 --out bench-results $(ARGS)

fuzz: $(ENVIRONMENT)  ## search for input that breaks the core: make fuzz TARGET=scanners|loaders|encode SECONDS=60
	RUSTFLAGS="$(COVERAGE)" cargo run --locked --profile fuzz --target $(HOST) -p bpe-fuzz --features libfuzzer \
		--bin $(TARGET) -- -max_total_time=$(SECONDS) -artifact_prefix=target/fuzz-$(TARGET)- $(ARGS)

# Without the test of every code point: nearly all of its time, a quarter of an hour, goes into the engine of regular
# expressions, and the scanners meet the same code in the tests on random text.
asan: $(ENVIRONMENT)  ## run the core's tests under AddressSanitizer, for the sake of its `unsafe` module
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 cargo test --locked --target $(HOST) \
		--target-dir target/asan -p bpe --lib -- --skip scanners_agree_with_their_regexes_around_every_code_point $(ARGS)

# It knows no vector instructions and no advice to the kernel, and is some thousand times slower than the processor.
miri: $(ENVIRONMENT)  ## run the tests of what threads share, and of raw memory, under Miri (needs a nightly toolchain with it)
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --target-dir target/miri -p bpe --lib -- \
		encode::table raw::zeroed raw::append::tests::refuses $(ARGS)

wheel: setup  ## build the wheel for this platform into dist/
	$(BIN)/maturin build --release --locked --out dist

docs: $(ENVIRONMENT)  ## build the documentation of the Rust core
	cargo doc --locked -p bpe --no-deps

clean:  ## remove everything that was built, runs excepted
	rm -rf $(VENV) target dist python/cs336/*.so

setup: $(EXTENSION)

$(ENVIRONMENT): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=path" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V): name another with PYTHON=path" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "a Rust toolchain (1.89 or newer) is needed: install it from https://rustup.rs or with your system's package manager" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt maturin
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(ENVIRONMENT)

$(EXTENSION): $(ENVIRONMENT) $(RUST)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(EXTENSION)
