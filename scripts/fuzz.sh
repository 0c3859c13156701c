#!/bin/bash
# Looks for inputs that break a target: scripts/fuzz.sh TARGET [options of libFuzzer].
#
#   scripts/fuzz.sh schedule -max_total_time=600
#
# The stable compiler is enough: libFuzzer's coverage is a pass of LLVM that needs no nightly option,
# and the sanitizers that do would look for what safe Rust rules out. What is found is written to
# target/fuzz/TARGET; the inputs worth keeping go to fuzz/corpus/TARGET, where `make test` runs them.
# `cargo fuzz run --sanitizer none TARGET` does the same, for those who have it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/provide.sh

need_rust
if [ $# -eq 0 ] || [ ! -e "fuzz/fuzz_targets/$1.rs" ]; then
    say "usage: scripts/fuzz.sh TARGET [options of libFuzzer]; targets: $(cd fuzz/fuzz_targets && ls | sed 's/\.rs$//' | paste -sd' ')"
    exit 2
fi
target=$1
shift
triple=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/fuzz-build
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --release --manifest-path fuzz/Cargo.toml --target "$triple" --bin "$target"
mkdir -p "target/fuzz/$target"
# New inputs are written to the first directory, and read from all.
exec "$CARGO_TARGET_DIR/$triple/release/$target" "target/fuzz/$target" "fuzz/corpus/$target" \
    -artifact_prefix="target/fuzz/$target-" "$@"
