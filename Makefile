# `make` lists the targets. Each does its own set-up (scripts/setup.sh), which is silent when all is there.

CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
MEDIA      := tests/golden/media
MODEL      := tests/golden/tiny-a/model
LIBRARY    := $(TARGET_DIR)/demo/library
GVE        := $(CARGO) run --quiet --locked --bin gve --

.DEFAULT_GOAL := help
.PHONY: help setup browser build test demo bench peers doc lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install FFmpeg, libclang and a C compiler where they are missing
	@scripts/setup.sh

browser: ## install Chromium, for the test of the HTML report, where it is missing
	@scripts/setup_browser.sh

build: setup ## build the library and both binaries
	$(CARGO) build --locked --workspace

test: setup ## run all tests, doc tests included
	$(CARGO) test --locked --workspace

demo: setup ## index the bundled clips and search them by text, image and clip
	@echo "building gve"
	@$(CARGO) build --quiet --locked --bin gve
	@rm -rf $(LIBRARY) && mkdir -p $(dir $(LIBRARY))
	@echo "The bundled checkpoint is random (untrained): text ranks mean nothing; the image and the clip should find themselves."
	@echo; echo "== index $(MEDIA)"
	@$(GVE) index $(MEDIA) --library $(LIBRARY) --model $(MODEL)
	@echo; echo '== search by text: "a rabbit in the meadow"'
	@$(GVE) search "a rabbit in the meadow" --library $(LIBRARY) --model $(MODEL) -k 3
	@echo; echo "== search by image: rabbit.png"
	@$(GVE) search --image $(MEDIA)/rabbit.png --library $(LIBRARY) --model $(MODEL) -k 3
	@echo; echo "== search by clip: bunny.mp4"
	@$(GVE) search --video $(MEDIA)/bunny.mp4 --library $(LIBRARY) --model $(MODEL) -k 3

bench: setup ## run the benchmarks
	$(CARGO) bench --locked --workspace

peers: setup ## measure beside transformers, PEFT, torchcodec, PyAV and FAISS (makes a Python environment)
	benchmark/peers/run.sh

doc: setup ## build the documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

lint: setup ## check the format and run clippy, with and without video
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@# The package alone: with --workspace, the member would turn video on.
	$(CARGO) clippy --locked --package gve --no-default-features --all-targets -- -D warnings

clean: ## remove what was built
	$(CARGO) clean
