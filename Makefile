# Two commands do everything on a fresh machine: `make run` starts Donjon, `make test` proves it.
SHELL := /bin/bash
CARGO := cargo
DONJON := target/release/donjon
PLUGINS := rules
TARGETS := --lib --bins
SECONDS_EACH := 60
KILLS := 25
RELOADS := 200

.DEFAULT_GOAL := help
.PHONY: help setup setup-wasm setup-services setup-tools build dist run test simulate lint bench soak fuzz clean

help:
	@echo 'make run     build everything and start the server on http://127.0.0.1:8080'
	@echo 'make test    format, lints and all tests, with real Prometheus and Alertmanager'
	@echo 'make build   target/release/donjon and the components in target/plugins'
	@echo 'make simulate SEEDS=n  accidents from n seeds over the real journal and worker; SEED=n plays one again'
	@echo 'make dist    target/dist/donjon: the same code, built slowly for speed; what is shipped'
	@echo 'make bench   measure what is shipped, beside an Alertmanager in the same run (ROWS=operator: only such rows)'
	@echo 'make soak    25 SIGKILLs and 200 reloads under full load (KILLS=25 RELOADS=200)'
	@echo 'make fuzz    hostile bytes into every door, a minute each (SECONDS_EACH=60)'
	@echo 'make setup   fetch what is missing: a wasm32 standard library, Prometheus, Alertmanager, tools that check'

setup: setup-wasm setup-services setup-tools

setup-wasm:
	@bash .make/setup-wasm.sh

setup-services:
	@bash .make/setup-services.sh

setup-tools:
	@bash .make/setup-schemathesis.sh
	@bash .make/setup-languages.sh
	@bash .make/setup-gates.sh

build: setup-wasm
	$(CARGO) build --release --workspace $(TARGETS)
	@for plugin in $(PLUGINS); do $(DONJON) plugin build plugins/$$plugin --out target/plugins || exit 1; done

run: build
	@bash .make/say-where.sh
	@exec $(DONJON) serve --config .make/donjon.toml

dist: setup-wasm
	$(CARGO) build --profile dist --workspace --lib --bins

lint: setup-tools
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path tests/guests/Cargo.toml
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --all-targets --manifest-path tests/guests/Cargo.toml --target-dir target/guests-native -- -D warnings
	@bash .make/check-dependencies.sh

# The binary and the components first: the integration tests try what a user would. Built together with the tests, so
# that the features of dependencies are settled once and wasmtime is compiled once.
test: TARGETS := --all-targets
test: setup lint build
	$(CARGO) test --release --workspace --no-fail-fast

# Runs of the simulation beyond those of `make test`; SEED=n plays one again and prints its steps.
simulate: SEEDS ?= 10000
simulate:
	SEEDS=$(SEEDS) SEED=$(SEED) $(CARGO) test --release --workspace --lib simulation::whatever -- --nocapture

bench: setup build dist
	DONJON_TEST_BINARY=$(CURDIR)/target/dist/donjon target/dist/donjon-bench $(ROWS)
	DONJON_TEST_BINARY=$(CURDIR)/target/dist/donjon target/dist/donjon-bench connections
	target/dist/donjon-bench boundary

soak: build
	target/release/donjon-soak $(KILLS) $(RELOADS)

fuzz:
	@SECONDS_EACH=$(SECONDS_EACH) bash .make/fuzz.sh $(TARGET)

clean:
	$(CARGO) clean
