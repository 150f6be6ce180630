# Two commands do everything on a fresh machine: `make run` starts Donjon, `make test` proves it.
SHELL := /bin/bash
CARGO := cargo
DONJON := target/release/donjon
PLUGINS := rules
TARGETS := --lib --bins

.DEFAULT_GOAL := help
.PHONY: help setup setup-wasm setup-services build run test lint bench clean

help:
	@echo 'make run     build everything and start the server on http://127.0.0.1:8080'
	@echo 'make test    format, lints and all tests, with real Prometheus and Alertmanager'
	@echo 'make build   target/release/donjon and the components in target/plugins'
	@echo 'make bench   measure, beside an Alertmanager in the same run'
	@echo 'make setup   fetch what is missing: a wasm32 standard library, Prometheus, Alertmanager'

setup: setup-wasm setup-services

setup-wasm:
	@bash .make/setup-wasm.sh

setup-services:
	@bash .make/setup-services.sh

build: setup-wasm
	$(CARGO) build --release --workspace $(TARGETS)
	@for plugin in $(PLUGINS); do $(DONJON) plugin build plugins/$$plugin --out target/plugins || exit 1; done

run: build
	@bash .make/say-where.sh
	@exec $(DONJON) serve --config .make/donjon.toml

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path tests/guests/Cargo.toml
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --all-targets --manifest-path tests/guests/Cargo.toml --target-dir target/guests-native -- -D warnings

# The binary and the components first: the integration tests try what a user would. Built together with the tests, so
# that the features of dependencies are settled once and wasmtime is compiled once.
test: TARGETS := --all-targets
test: setup lint build
	$(CARGO) test --release --workspace --no-fail-fast

bench: setup build
	target/release/donjon-bench

clean:
	$(CARGO) clean
