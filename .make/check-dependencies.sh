#!/usr/bin/env bash
# Our dependencies: licences, sources and banned crates, and that each is used. The programs come from setup-gates.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="${DONJON_TEST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/tools}"
deny=$(echo "$tools"/cargo-deny-*/bin/cargo-deny)
machete=$(echo "$tools"/cargo-machete-*/bin/cargo-machete)
"$deny" --log-level warn --config .make/deny.toml check --hide-inclusion-graph licenses bans sources
"$machete" . 2>&1
