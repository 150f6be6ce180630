//! Finds out how this machine gets a standard library for wasm32, in the order of how little it costs.
//!
//! It must not know plugins. It changes nothing but the active rustup toolchain, and that only by adding the target.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{BuildOptions, TARGET};

const RUSTUP_PATIENCE: Duration = Duration::from_secs(30);
const LIBRARY_SOURCE: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";

/// How this machine gets a standard library for wasm32.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The active toolchain has it.
    Active,
    /// rustup just added it to the active toolchain.
    Added,
    /// It is compiled from the library source of this compiler.
    FromSource { rustc: PathBuf, linker: PathBuf },
}

impl Toolchain {
    pub(super) fn describe(&self) -> String {
        match self {
            Toolchain::Active => format!("the active toolchain, which has {TARGET}"),
            Toolchain::Added => format!("the active toolchain, to which rustup added {TARGET}"),
            Toolchain::FromSource { rustc, .. } => {
                format!(
                    "a standard library compiled from source by {} (once: about 30 s)",
                    rustc.display()
                )
            }
        }
    }
}

pub(super) fn find(options: &BuildOptions, say: &mut dyn FnMut(&str)) -> Result<Toolchain> {
    let at = options.manifest_dir.as_path();
    if active_has_target(at) {
        return Ok(Toolchain::Active);
    }
    // Before rustup: where a private toolchain was needed, rustup's server is out of reach, and each build would wait.
    let private = options.toolchain_dir.clone().or_else(default_toolchain_dir);
    let compilers = private
        .iter()
        .flat_map(|dir| [dir.join("rustc"), dir.join("bin/rustc")])
        .filter(|rustc| rustc.is_file());
    for rustc in compilers.chain([PathBuf::from(rustc())]) {
        if has_library_source(&rustc, at) {
            return Ok(Toolchain::FromSource {
                linker: find_linker(&rustc, at)?,
                rustc,
            });
        }
    }
    if !options.offline {
        say(&format!(
            "asking rustup for {TARGET} (at most {} s)",
            RUSTUP_PATIENCE.as_secs()
        ));
        let mut rustup = Command::new("rustup");
        rustup
            .args(["target", "add", TARGET])
            .current_dir(at)
            .env("RUSTUP_MAX_RETRIES", "0");
        if succeeds_within(&mut rustup, RUSTUP_PATIENCE) && active_has_target(at) {
            return Ok(Toolchain::Added);
        }
    }
    bail!(
        "no compiler for {TARGET}; any one of these is enough:\n  \
         1. rustup target add {TARGET}\n  \
         2. rustup component add rust-src (the standard library is then compiled from source)\n  \
         3. on Debian, without access to rustup's server: .make/setup-wasm.sh of the Donjon repository\n  \
         4. name a toolchain that has its library source in DONJON_TOOLCHAIN_DIR{}",
        private
            .map(|dir| format!(" (looked in {})", dir.display()))
            .unwrap_or_default()
    );
}

fn default_toolchain_dir() -> Option<PathBuf> {
    toolchain_dir_from(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

/// The same rule as in `.make/setup-wasm.sh`.
fn toolchain_dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = variable("DONJON_TOOLCHAIN_DIR") {
        return Some(named.into());
    }
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("donjon/wasm-toolchain"))
}

fn active_has_target(at: &Path) -> bool {
    let Some(folder) = ask_rustc(
        Path::new(&rustc()),
        &["--print", "target-libdir", "--target", TARGET],
        at,
    ) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn has_library_source(rustc: &Path, at: &Path) -> bool {
    ask_rustc(rustc, &["--print", "sysroot"], at).is_some_and(|root| Path::new(&root).join(LIBRARY_SOURCE).is_file())
}

/// rustup's toolchains carry a linker for wasm; Debian's do not, but rustup's links for them just as well.
fn find_linker(source_rustc: &Path, at: &Path) -> Result<PathBuf> {
    for compiler in [PathBuf::from(rustc()), source_rustc.to_owned()] {
        let Some(root) = ask_rustc(&compiler, &["--print", "sysroot"], at) else {
            continue;
        };
        let hosts = fs::read_dir(Path::new(&root).join("lib/rustlib"))
            .into_iter()
            .flatten()
            .flatten();
        if let Some(linker) = hosts
            .map(|host| host.path().join("bin/rust-lld"))
            .find(|path| path.is_file())
        {
            return Ok(linker);
        }
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&on_path)
        .map(|folder| folder.join("wasm-ld"))
        .find(|path| path.is_file())
        .context("no linker for wasm: install Rust with rustup, or the package lld")
}

fn ask_rustc(rustc: &Path, arguments: &[&str], at: &Path) -> Option<String> {
    let output = Command::new(rustc)
        .args(arguments)
        .current_dir(at)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !answer.trim().is_empty()).then(|| answer.trim().to_owned())
}

fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Whether a command succeeds in time; it is stopped if it takes longer.
fn succeeds_within(command: &mut Command, patience: Duration) -> bool {
    let Ok(mut child) = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            // Too late, or no longer there: either way nothing more can be learnt from it.
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variable = (&'static str, &'static str);

    #[test]
    fn the_private_toolchain_is_where_the_set_up_step_puts_it() {
        let cases: [(&[Variable], Option<&str>); 4] = [
            (&[("DONJON_TOOLCHAIN_DIR", "/t"), ("HOME", "/h")], Some("/t")),
            (
                &[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")],
                Some("/c/donjon/wasm-toolchain"),
            ),
            (&[("HOME", "/h")], Some("/h/.cache/donjon/wasm-toolchain")),
            (&[], None),
        ];
        for (variables, expected) in cases {
            let find = |name: &str| {
                variables
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).into())
            };
            assert_eq!(toolchain_dir_from(find), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn a_command_that_takes_too_long_is_stopped() {
        let mut sleep = Command::new("sleep");
        assert!(!succeeds_within(sleep.arg("30"), Duration::from_millis(100)));
        assert!(succeeds_within(&mut Command::new("true"), Duration::from_secs(10)));
        assert!(!succeeds_within(&mut Command::new("false"), Duration::from_secs(10)));
        assert!(!succeeds_within(
            &mut Command::new("no-such-program-here"),
            Duration::from_secs(10)
        ));
    }
}
