#!/usr/bin/env bash
# The programs that look at our dependencies: cargo-deny (licences, sources, banned and doubled crates) and cargo-machete
# (dependencies that nothing uses). From crates.io, pinned, into a private directory; nothing is installed on the system.
# Compiled without optimisation: they run for a second each. Run it again: no-op.
set -euo pipefail

readonly DENY=0.20.2 MACHETE=0.9.2
dir="${DONJON_TEST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/tools}"

install() {
  local program=$1 version=$2
  [ ! -x "$dir/$program-$version/bin/$program" ] || return 0
  echo "setup-gates: compiling $program $version (some minutes, once)"
  # Outside of the workspace, so that its profiles and lock file have no part in it.
  (cd / && CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --no-track \
    --root "$dir/.$program-$version.new" --target-dir "$dir/.build" "$program@$version") || {
    echo "setup-gates: $program could not be compiled; way out: put its binary at $dir/$program-$version/bin/$program" >&2
    exit 1
  }
  rm -rf "$dir/.build"
  mv -T "$dir/.$program-$version.new" "$dir/$program-$version" 2>/dev/null || [ -x "$dir/$program-$version/bin/$program" ]
}

mkdir -p "$dir"
install cargo-deny "$DENY"
install cargo-machete "$MACHETE"
