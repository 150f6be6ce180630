#!/usr/bin/env bash
# The tools that make components of Python and JavaScript: from PyPI and npm, into private directories. Nothing is installed
# on the system. The tests build plugins with them as their authors would. Run it again: no-op.
set -euo pipefail

readonly PYTHON=0.25.1 JAVASCRIPT=1.35.0
tools="${DONJON_TEST_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/tools}"

fail() {
  echo "setup-languages: $1" >&2
  echo "setup-languages: way out: make PyPI reachable for pip and npm's registry for npm, or set DONJON_TEST_TOOLS_DIR to a" >&2
  echo "  directory with componentize-py-$PYTHON/run and jco-$JAVASCRIPT/run, which take the arguments of those commands" >&2
  exit 1
}

# fetch NAME COMMAND...: runs it in a new directory, which becomes NAME once its program `run` answers.
fetch() {
  local dir="$tools/$1" work
  shift
  [ ! -x "$dir/run" ] || return 0
  echo "setup-languages: fetching ${dir##*/}"
  mkdir -p "$tools"
  work=$(mktemp -d "$dir.new.XXXXXX")
  (cd "$work" && "$@") >"$work.log" 2>&1 || { cat "$work.log" >&2; rm -rf "$work" "$work.log"; fail "cannot install ${dir##*/}"; }
  chmod 755 "$work" "$work/run"
  "$work/run" --help >/dev/null || fail "${dir##*/} does not run on this machine"
  rm -f "$work.log"
  mv -T "$work" "$dir" 2>/dev/null || { rm -rf "$work"; [ -x "$dir/run" ]; }
}

python() {
  # Where python3 stands without pip, pip is taken from Debian's package of it.
  local pip=(python3 -m pip)
  if ! "${pip[@]}" --version >/dev/null 2>&1; then
    command -v apt-get >/dev/null || { echo "python3 has no pip, and this is no Debian to take one from"; return 1; }
    mkdir -p lists/partial cache/archives/partial
    local options=(-o "Dir::State::Lists=$PWD/lists" -o "Dir::Cache=$PWD/cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1)
    apt-get "${options[@]}" -qq update
    apt-get "${options[@]}" -qq download python3-pip-whl
    dpkg -x python3-pip-whl_*.deb deb
    pip=(python3 "$(echo "$PWD"/deb/usr/share/python-wheels/pip-*.whl)/pip")
  fi
  "${pip[@]}" install --quiet --disable-pip-version-check --no-cache-dir --target packages "componentize-py==$PYTHON"
  rm -rf deb lists cache python3-pip-whl_*.deb
  printf '#!/bin/sh\n# Written by setup-languages.sh.\nPYTHONPATH="${0%%/*}/packages" exec "${0%%/*}/packages/bin/componentize-py" "$@"\n' >run
}

javascript() {
  npm install --silent --no-audit --no-fund --no-package-lock --prefix . "@bytecodealliance/jco@$JAVASCRIPT"
  printf '#!/bin/sh\n# Written by setup-languages.sh.\nexec "${0%%/*}/node_modules/.bin/jco" "$@"\n' >run
}

command -v python3 >/dev/null || fail "python3 is missing"
command -v npm >/dev/null || fail "npm is missing"
fetch "componentize-py-$PYTHON" python
fetch "jco-$JAVASCRIPT" javascript
