#!/usr/bin/env bash
# Makes sure that plugins can be compiled for wasm32-unknown-unknown: `make` calls it before anything else needs it.
#
# Four outcomes, tried in this order: the active toolchain already has the target; a private toolchain of an earlier run
# works; rustup adds the target; or, where rustup's server cannot be reached but Debian's packages can, a second compiler
# with the library source is unpacked privately
# (no root, nothing installed, rustup and the system's rustc left alone). `donjon plugin build` finds that folder by itself.
#
# It must not know any plugin, and it never builds: it only fetches what a fresh machine lacks. A second run is offline.
set -euo pipefail

readonly TARGET=wasm32-unknown-unknown
readonly MIN_RUST=1.95 # rust-version of the workspace
readonly RUSTUP_SECONDS=30
# Never below /tmp: whoever makes the folder there first would have their compiler run by us.
if [ -z "${DONJON_TOOLCHAIN_DIR:-}${XDG_CACHE_HOME:-}${HOME:-}" ]; then
    printf 'setup-wasm: no place for a toolchain; set HOME, XDG_CACHE_HOME or DONJON_TOOLCHAIN_DIR\n' >&2
    exit 1
fi
readonly TOOLCHAIN_DIR=${DONJON_TOOLCHAIN_DIR:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/donjon/wasm-toolchain}

work=""
apt_options=()

say() { printf 'setup-wasm: %s\n' "$*"; }

fail() {
    printf 'setup-wasm: %s\n' "$*" >&2
    cat >&2 <<EOF
setup-wasm: ways out, any one is enough:
  1. rustup target add $TARGET              (needs static.rust-lang.org)
  2. rustup component add rust-src                         (same server; the build tool then compiles the library itself)
  3. on Debian: make deb.debian.org reachable for apt and run this again
  4. copy $TOOLCHAIN_DIR
     from a machine where this worked, or point DONJON_TOOLCHAIN_DIR at a copy
EOF
    exit 1
}

main() {
    if target_is_installed; then
        say "the active toolchain has $TARGET"
        return
    fi
    # Before rustup: a machine that needed this once cannot reach rustup's server, and waiting for it each time is no use.
    if toolchain_works "$TOOLCHAIN_DIR"; then
        say "using the private toolchain in $TOOLCHAIN_DIR"
        return
    fi
    if rustup_adds_target; then
        say "rustup added $TARGET to the active toolchain"
        return
    fi
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        fail "rustup cannot add $TARGET here, and this is no Debian to take a compiler from"
    fetch_private_toolchain
}

target_is_installed() {
    local libdir
    libdir=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) || return 1
    compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

toolchain_works() {
    local rustc=$1/rustc
    [ -x "$rustc" ] && "$rustc" --version >/dev/null 2>&1 &&
        [ -f "$("$rustc" --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

rustup_adds_target() {
    command -v rustup >/dev/null || return 1
    say "asking rustup for $TARGET (at most $RUSTUP_SECONDS s)"
    RUSTUP_MAX_RETRIES=0 timeout "$RUSTUP_SECONDS" rustup target add "$TARGET" >/dev/null 2>&1 && target_is_installed
}

# Everything happens in a folder next to the final one, so that the last step is a rename and a broken run leaves nothing.
fetch_private_toolchain() {
    local flavour version
    mkdir -p "$(dirname "$TOOLCHAIN_DIR")" || fail "cannot create $(dirname "$TOOLCHAIN_DIR")"
    work=$(mktemp -d "$TOOLCHAIN_DIR.new.XXXXXX") || fail "cannot write next to $TOOLCHAIN_DIR"
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    mkdir "$work/debs" "$work/tree" "$work/tree/root"

    flavour=$(find_flavour) || { update_private_lists && flavour=$(find_flavour); } ||
        fail "apt knows no Rust compiler of at least $MIN_RUST with its source (looked for rustc-web and rustc)"
    version=$(candidate "rustc$flavour")
    say "rustup cannot add $TARGET here: fetching Debian's compiler rustc$flavour $version"

    download "$flavour" "$version"
    unpack "$flavour"
    write_wrapper
    toolchain_works "$work/tree" ||
        fail "the unpacked compiler does not start: $("$work/tree/rustc" --version 2>&1 | head -n 3)"
    publish
    say "ready: $("$TOOLCHAIN_DIR/rustc" --version) in $TOOLCHAIN_DIR ($(du -sh "$TOOLCHAIN_DIR" | cut -f1))"
}

apt_get() { apt-get "${apt_options[@]}" "$@"; }
apt_cache() { apt-cache "${apt_options[@]}" "$@"; }

candidate() { apt_cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *//p' | grep -v '^(none)$'; }

# Debian backports a recent compiler for browsers under the name -web; testing has one under the plain name.
find_flavour() {
    local flavour version
    for flavour in -web ""; do
        version=$(candidate "rustc$flavour") && [ -n "$(candidate "rust$flavour-src")" ] &&
            dpkg --compare-versions "$version" ge "$MIN_RUST" && { printf '%s' "$flavour"; return 0; }
    done
    return 1
}

# A fresh container has no package lists, and an ordinary user may not write the system's: use lists of our own.
update_private_lists() {
    mkdir -p "$work/apt/state/lists/partial" "$work/apt/cache/archives/partial"
    apt_options=(-o "Dir::State=$work/apt/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$work/apt/cache")
    say "apt has no candidate: reading package lists into a private folder" >&2
    # Its output is shown only on failure: hooks of some containers complain about folders that are not ours.
    apt_get -qq update >"$work/update.log" 2>&1 || fail "apt-get update failed: $(tail -n 3 "$work/update.log")"
}

download() {
    local flavour=$1 version=$2 packages=("rustc$1=$2" "rust$1-src=$2" "libstd-rust$1-dev=$2") driver llvm
    driver=$(depends_on "libstd-rust$flavour-dev=$version" "^libstd-rust$flavour-[0-9]")
    llvm=$(depends_on "$driver=$version" '^libllvm[0-9]')
    [ -n "$driver" ] || fail "libstd-rust$flavour-dev $version names no libstd-rust package"
    packages+=("$driver=$version")
    if [ -n "$llvm" ]; then
        # shellcheck disable=SC2207 # package names hold no blanks
        packages+=("$llvm" $(missing_libraries_of "$llvm"))
    fi
    say "downloading ${#packages[@]} packages, about 140 MB"
    (cd "$work/debs" && apt_get -qq -o APT::Sandbox::User= download "${packages[@]}") || fail "apt-get download failed: ${packages[*]}"
}

depends_on() {
    apt_cache show "$1" | sed -n 's/^Depends: *//p' | head -n 1 | tr ',|' '\n\n' | sed 's/^ *//; s/[ (:].*//' | grep -E "$2" | head -n 1
}

# LLVM needs a few small libraries that a slim container may lack.
missing_libraries_of() {
    local name
    apt_cache depends --recurse --important "$1" | grep -E '^lib[a-z0-9]' | sort -u | while read -r name; do
        [ "$name" = "$1" ] || dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -q '^installed$' ||
            [ -z "$(candidate "$name")" ] || printf '%s\n' "$name"
    done
}

unpack() {
    local deb
    for deb in "$work"/debs/*.deb; do
        say "unpacking $(basename "$deb")"
        case $(basename "$deb") in
        "rust$1-src_"*) # 1.5 GB of it is of no use here
            dpkg-deb --fsys-tarfile "$deb" |
                tar -x -C "$work/tree/root" --wildcards './usr/src/rustc-*/library' ./usr/lib/rustlib/src ;;
        *)
            dpkg-deb --fsys-tarfile "$deb" |
                tar -x -C "$work/tree/root" --exclude './usr/share' --exclude './usr/bin/rustdoc' --exclude './usr/libexec' ;;
        esac || fail "cannot unpack $(basename "$deb") (is the disk full?)"
        rm -f "$deb"
    done
}

# The compiler finds its own libraries only in system folders, hence the wrapper; it must work wherever the folder is moved.
write_wrapper() {
    local driver libraries
    driver=$(find "$work/tree/root/usr/lib" -name 'librustc_driver-*.so' | head -n 1)
    [ -n "$driver" ] || fail "the packages hold no librustc_driver"
    libraries=$(dirname "${driver#"$work/tree/"}")
    cat >"$work/tree/rustc" <<EOF
#!/bin/sh
# Starts the unpacked compiler with its own libraries. Written by setup-wasm.sh.
here=\${0%/*}
LD_LIBRARY_PATH="\$here/$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "\$here/root/usr/bin/rustc" "\$@"
EOF
    chmod +x "$work/tree/rustc"
}

publish() {
    # Another run may have finished first: its result is as good.
    toolchain_works "$TOOLCHAIN_DIR" && return
    if [ -e "$TOOLCHAIN_DIR" ]; then mv "$TOOLCHAIN_DIR" "$work/broken"; fi
    mv -T "$work/tree" "$TOOLCHAIN_DIR"
}

main "$@"
