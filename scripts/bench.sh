#!/bin/bash
# Runs the benchmark with private servers that are gone afterwards. Arguments go to the benchmark.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/provide.sh

need_rust
provide_servers scripts/bench.sh
cargo build --release -p patchwave-tests --bin with-servers
cargo build --release -p patchwave-benches -p patchwave -p patchwave-agent
exec "${CARGO_TARGET_DIR:-target}/release/with-servers" -- cargo run --release -p patchwave-benches -- "$@"
