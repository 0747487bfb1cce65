# `make` lists the targets. Each does its own set-up (scripts/setup.sh), which is silent when all is there.

CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help setup browser build test demo bench peers doc lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install FFmpeg, libclang and a C compiler where they are missing
	@scripts/setup.sh

browser: ## install Chromium, for the test of the HTML report, where it is missing
	@scripts/setup_browser.sh

build: setup ## build the library and both programs
	$(CARGO) build --locked --workspace

test: setup ## run all tests, doc tests included
	$(CARGO) test --locked --workspace

demo: setup ## generate a few videos, index them, and search them by text and picture
	@scripts/demo.sh $(TARGET_DIR)/demo

bench: setup ## run the benchmarks
	$(CARGO) bench --locked --workspace

peers: setup ## measure beside transformers, PEFT, torchcodec, PyAV and FAISS (makes a Python environment)
	benchmark/peers/run.sh

doc: setup ## build the documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

# Each compiles by itself; the build with none of them is what clippy looks at.
FEATURES := async hub library nano synth train video watch

lint: setup ## check the format, run clippy with and without features, and compile each feature alone
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@# The package alone: with --workspace, the member would turn video on.
	$(CARGO) clippy --locked --package gve --no-default-features --all-targets -- -D warnings
	@for feature in $(FEATURES); do \
	  echo "gve with $$feature alone"; \
	  $(CARGO) check --quiet --locked --package gve --no-default-features --features $$feature || exit 1; \
	done
	@# A program that searches a library needs no FFmpeg.
	$(CARGO) check --quiet --locked --package gve --no-default-features --features library --example search_folder

clean: ## remove what was built
	$(CARGO) clean
