#!/usr/bin/env bash
# Hostile bytes into every door, a minute each (SECONDS_EACH), or into the one named. What is found is printed and lies in
# tests/fuzz/artifacts. Inputs that reach new code are thousands: they stay in target/fuzz-corpus, for the next run; whatever
# is worth keeping goes into tests/fuzz/corpus, which `make test` replays.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-fuzz >/dev/null; then
  tools="${DONJON_TEST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/tools}/cargo-fuzz"
  [ -x "$tools/bin/cargo-fuzz" ] || (cd / && cargo install --quiet --locked --debug --no-track --root "$tools" cargo-fuzz@0.13.2)
  PATH="$tools/bin:$PATH"
fi
targets=${1:-$(cargo fuzz list --fuzz-dir tests/fuzz)}
for target in $targets; do
  echo "fuzz: $target for ${SECONDS_EACH:=60} s"
  # One process a target, bounded in time, memory and length: a body or record that takes longer or more is a finding.
  mkdir -p "target/fuzz-corpus/$target"
  CARGO_TARGET_DIR=$PWD/target/fuzz cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" \
    "target/fuzz-corpus/$target" "tests/fuzz/corpus/$target" -- \
    -max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1
done
