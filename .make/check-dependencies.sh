#!/usr/bin/env bash
# Our dependencies: licences, sources and banned crates, and that each is used. The programs come from setup-gates.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="${DONJON_TEST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/tools}"
# The pinned versions: others may lie beside them.
eval "$(grep '^readonly DENY=' .make/setup-gates.sh)"
deny=$tools/cargo-deny-$DENY/bin/cargo-deny
machete=$tools/cargo-machete-$MACHETE/bin/cargo-machete
"$deny" --log-level warn --config .make/deny.toml check --hide-inclusion-graph licenses bans sources
"$machete" . 2>&1
