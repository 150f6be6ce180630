#!/usr/bin/env bash
# Real Prometheus and Alertmanager for the tests and the benchmark: taken from the PATH if they are there, else unpacked
# from Debian's packages into a private directory. No package is installed and no service is started; the one thing put
# outside is Alertmanager's templates, whose path is built into it. Run it again: no-op.
set -euo pipefail

dir="${DONJON_TEST_SERVICES_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/donjon/services}"
missing=()
for program in prometheus prometheus-alertmanager; do
  command -v "$program" >/dev/null || [ -x "$dir/usr/bin/$program" ] || missing+=("$program")
done
# Debian's Alertmanager reads its templates from this path and no other.
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates/default.tmpl" ] && ! printf '%s\n' "${missing[@]}" | grep -qx prometheus-alertmanager; then
  missing+=(prometheus-alertmanager)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

fail() {
  echo "setup-services: $1" >&2
  echo "setup-services: ways out: install ${missing[*]} so that they are on the PATH, or set DONJON_TEST_SERVICES_DIR to a" >&2
  echo "  directory with usr/bin/prometheus and usr/bin/prometheus-alertmanager" >&2
  exit 1
}
command -v apt-get >/dev/null || fail "this machine has no apt-get to fetch them with"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# Lists of our own, so that an ordinary user can refresh them and the system's stay as they are.
options=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1)
echo "setup-services: fetching ${missing[*]} from Debian's packages"
apt-get "${options[@]}" -qq update >update.log 2>&1 || { cat update.log >&2; fail "apt-get update failed"; }
apt-get "${options[@]}" -qq download "${missing[@]}" >download.log 2>&1 || { cat download.log >&2; fail "apt-get download failed"; }
for package in ./*.deb; do dpkg -x "$package" root; done
mkdir -p "$dir/usr/bin"
for program in "${missing[@]}"; do
  "root/usr/bin/$program" --version >/dev/null 2>&1 || fail "$program does not run on this machine"
  cp "root/usr/bin/$program" "$dir/usr/bin/.$program.new"
  mv "$dir/usr/bin/.$program.new" "$dir/usr/bin/$program"
done
if [ -d root/usr/share/prometheus/alertmanager ] && [ ! -e "$templates/default.tmpl" ]; then
  mkdir -p "$templates" 2>/dev/null && cp root/usr/share/prometheus/alertmanager/*.tmpl "$templates/" ||
    fail "cannot write $templates, which Debian's Alertmanager reads; run this once as root"
fi
echo "setup-services: ready in $dir"
