#!/usr/bin/env bash
# The tool that attacks the server along its own /openapi.json: from PyPI, into a private directory. Nothing is installed on
# the system. Where Debian's python3 stands without pip, pip is taken from Debian's package of it. Run it again: no-op.
set -euo pipefail

readonly VERSION=4.32.5
dir="${DONJON_TEST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/tools}/schemathesis-$VERSION"
[ ! -x "$dir/run" ] || exit 0

fail() {
  echo "setup-schemathesis: $1" >&2
  echo "setup-schemathesis: way out: make PyPI reachable for pip, or set DONJON_TEST_TOOLS_DIR to a directory with" >&2
  echo "  schemathesis-$VERSION/run, which takes the arguments of the command schemathesis" >&2
  exit 1
}

command -v python3 >/dev/null || fail "python3 is missing"
mkdir -p "$(dirname "$dir")"
work=$(mktemp -d "$dir.new.XXXXXX")
trap 'rm -rf "$work"' EXIT

pip=(python3 -m pip)
if ! "${pip[@]}" --version >/dev/null 2>&1; then
  command -v apt-get >/dev/null || fail "python3 has no pip, and this is no Debian to take one from"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  options=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1)
  (cd "$work" && apt-get "${options[@]}" -qq update && apt-get "${options[@]}" -qq download python3-pip-whl) >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; fail "cannot download python3-pip-whl"; }
  dpkg -x "$work"/python3-pip-whl_*.deb "$work/deb"
  pip=(python3 "$(echo "$work"/deb/usr/share/python-wheels/pip-*.whl)/pip")
fi

echo "setup-schemathesis: fetching schemathesis $VERSION from PyPI"
"${pip[@]}" install --quiet --disable-pip-version-check --no-cache-dir --target "$work/packages" "schemathesis==$VERSION" \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "pip install failed"; }
cat >"$work/run" <<'RUN'
#!/bin/sh
# Written by setup-schemathesis.sh.
PYTHONPATH="${0%/*}/packages" exec python3 -m schemathesis.cli "$@"
RUN
chmod 755 "$work" "$work/run"
"$work/run" --version >/dev/null || fail "schemathesis does not run on this machine"
rm -rf "$work/deb" "$work/cache" "$work/lists" "$work/log"
mv -T "$work" "$dir" 2>/dev/null || [ -x "$dir/run" ]
echo "setup-schemathesis: ready in $dir"
