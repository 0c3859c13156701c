# The verbs of this repository. CI calls the same ones.
.DEFAULT_GOAL := help
.PHONY: help run demo test lint fmt bench packages up simulate

SEED ?=
COUNT ?= 10000

help: ## List these verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run: ## Run every role in one process, on the embedded default
	cargo run --release -- up

demo: ## Patch a small simulated fleet, from nothing, in a minute
	cargo run --release -- demo

test: ## Run every test, with private servers that are gone afterwards
	scripts/test.sh

lint: ## Check format, lints and dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; \
	else echo "cargo-deny is not installed: dependencies were not checked (cargo install cargo-deny)" >&2; fi

fmt: ## Format the code
	cargo fmt --all

bench: ## Measure rollouts against the bare broker; the README's figures come from here
	scripts/bench.sh

packages: ## Build the .deb and .rpm of agent and server into target/packages
	scripts/packages.sh

up: ## Run the whole system in containers
	docker compose up --build

simulate: ## Simulate COUNT seeds, or replay one: make simulate SEED=42
	$(if $(SEED),PATCHWAVE_SEED=$(SEED),PATCHWAVE_SEEDS=$(COUNT)) cargo test -p patchwave-tests --test simulation -- --nocapture
