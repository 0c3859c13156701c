#!/bin/bash
# Runs every test. Provides what they need first: private RabbitMQ, Redis and PostgreSQL from
# installed binaries, installing Debian's packages where they are missing and this may (root or
# sudo); else everything in one container; else it stops with a sentence that says what to install.
# Ends with one line, `N passed, N failed`, and leaves no process and no file outside target/.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/provide.sh

need_rust
provide_servers scripts/test.sh
provide_python
provide_packagers
provide_rpm_tools
provide_zypper

# Once for all: a test that starts a program finds it built.
cargo build --workspace --all-targets || exit 1
with_servers=${CARGO_TARGET_DIR:-target}/debug/with-servers

log=$(mktemp) && trap 'rm -f "$log"' EXIT
exec 3> >(tee -i "$log")
tee_pid=$!
# `--no-fail-fast`: one failing binary does not hide what the others say.
"$with_servers" -- cargo test --workspace --no-fail-fast >&3 2>&1 3>&- &
pid=$!
# It takes the servers and the temporary files down with it.
trap 'kill -TERM "$pid" 2>/dev/null' INT TERM
status=1
while kill -0 "$pid" 2>/dev/null; do
    wait "$pid"
    status=$?
done
trap - INT TERM
exec 3>&-
wait "$tee_pid"

counts=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
    /^test result:/ { passed += $4; failed += $6 }
    END { printf "%d passed, %d failed", passed, failed }')
echo "$counts"
if [ "$status" -ne 0 ] || [ "${counts##*, }" != "0 failed" ]; then
    # A binary that crashed has failed without counting.
    [ "$status" -ne 0 ] || status=1
    exit "$status"
fi
