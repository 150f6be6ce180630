//! `donjon plugin build`: compiles a plugin to one `.wasm` file with whatever compiler for wasm32 the machine has.
//!
//! Why it is more than a call of cargo: not every machine can reach the server that rustup takes targets from, and the
//! four ways to a standard library for wasm32 differ in flags. It must not know a running host: it runs before there
//! is one, and asks the runtime only what a file is.
//! It fetches nothing but a rustup target; what a fresh machine lacks, the set-up step of the repository brings.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use donjon_runtime::{Examined, LoadError};

use toolchain::Toolchain;

mod toolchain;

const TARGET: &str = "wasm32-unknown-unknown";
/// Larger modules are not looked into; a host takes none that is half as large.
const MAX_MODULE_BYTES: usize = 256 << 20;

/// Small and without debug information, whatever profile the workspace has for native code. Function names stay in:
/// they are what a trap is reported with.
const SETTINGS: [&str; 6] = [
    "profile.release.debug=false",
    "profile.release.strip=\"debuginfo\"",
    "profile.release.incremental=false",
    "profile.release.codegen-units=1",
    "profile.release.lto=\"thin\"",
    // Searches in texts go 16 bytes at a time; what wasmtime makes of it is the same on every machine.
    "target.wasm32-unknown-unknown.rustflags=[\"-Ctarget-feature=+simd128\"]",
];

/// What to build and where to put it.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The folder of the plugin: the one with its `Cargo.toml`.
    pub manifest_dir: PathBuf,
    /// Where the finished file goes; by default `plugins` in the target directory.
    pub out_dir: Option<PathBuf>,
    /// Where cargo works; by default `wasm` in the target directory of the workspace, so that two compilers never
    /// invalidate each other's work.
    pub target_dir: Option<PathBuf>,
    /// A second toolchain with its library source; by default `$DONJON_TOOLCHAIN_DIR`, then the user's cache folder.
    pub toolchain_dir: Option<PathBuf>,
    /// Touch no network.
    pub offline: bool,
}

/// Build a plugin; `say` is told what a person who waits wants to know. Answers the path of the `.wasm` file.
pub fn build(options: &BuildOptions, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let package = read_package(options)?;
    let toolchain = toolchain::find(options, say)?;
    say(&format!("building {} with {}", package.name, toolchain.describe()));

    let target_dir = options
        .target_dir
        .clone()
        .unwrap_or_else(|| package.target_dir.join("wasm"));
    let started = Instant::now();
    run_cargo(&package, &toolchain, &target_dir, options)?;

    let built = target_dir
        .join(TARGET)
        .join("release")
        .join(format!("{}.wasm", package.library));
    let module = fs::read(&built).with_context(|| format!("cargo left no module: {}", built.display()))?;
    let examined = examine(&module, &built)?;
    let out_dir = options.out_dir.clone().unwrap_or_else(|| target_dir.join("plugins"));
    let out = install(&module, &out_dir, plugin_name(&package.name))?;
    say(&format!(
        "built {} ({} kB): {} for contract {}, in {:.1} s",
        out.display(),
        module.len() / 1000,
        examined.roles,
        examined.api_version,
        started.elapsed().as_secs_f64()
    ));
    Ok(out)
}

/// What `cargo metadata` knows about the plugin.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    manifest: PathBuf,
    name: String,
    /// The name of the library as a file name.
    library: String,
    target_dir: PathBuf,
}

fn read_package(options: &BuildOptions) -> Result<Package> {
    let manifest = options.manifest_dir.join("Cargo.toml");
    let manifest = fs::canonicalize(&manifest).with_context(|| {
        format!(
            "no plugin here, name the folder with its Cargo.toml: {}",
            manifest.display()
        )
    })?;
    let mut cargo = Command::new(cargo());
    cargo
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest);
    if options.offline {
        cargo.arg("--offline");
    }
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo, install Rust from https://rustup.rs")?;
    ensure!(
        output.status.success(),
        "cargo cannot read the plugin: {}",
        manifest.display()
    );
    parse_metadata(&output.stdout, &manifest)
}

fn parse_metadata(json: &[u8], manifest: &Path) -> Result<Package> {
    let metadata: serde_json::Value = serde_json::from_slice(json).context("cargo metadata is not JSON")?;
    let text = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    let list =
        |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_array()).cloned().unwrap_or_default();

    let package = list(&metadata, "packages")
        .into_iter()
        .find(|package| text(package, "manifest_path").is_some_and(|path| Path::new(&path) == manifest))
        .with_context(|| {
            format!(
                "this is a workspace, name the folder of one plugin: {}",
                manifest.display()
            )
        })?;
    let name = text(&package, "name").context("cargo metadata names no package")?;
    let is_cdylib = |target: &serde_json::Value| list(target, "crate_types").iter().any(|kind| kind == "cdylib");
    let library = list(&package, "targets")
        .iter()
        .find(|target| is_cdylib(target))
        .and_then(|target| text(target, "name"))
        .with_context(|| {
            format!("{name} is no cdylib, add to its Cargo.toml: [lib] crate-type = [\"cdylib\", \"rlib\"]")
        })?;
    let target_dir = text(&metadata, "target_directory").context("cargo metadata names no target directory")?;
    Ok(Package {
        manifest: manifest.to_owned(),
        name,
        library: library.replace('-', "_"),
        target_dir: target_dir.into(),
    })
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn run_cargo(package: &Package, toolchain: &Toolchain, target_dir: &Path, options: &BuildOptions) -> Result<()> {
    let mut cargo = Command::new(cargo());
    cargo
        .args(["build", "--release", "--lib", "--target", TARGET, "--manifest-path"])
        .arg(&package.manifest);
    cargo
        .arg("--target-dir")
        .arg(std::path::absolute(target_dir)?)
        .current_dir(&options.manifest_dir);
    for setting in SETTINGS {
        cargo.args(["--config", setting]);
    }
    if options.offline {
        cargo.arg("--offline");
    }
    // Flags and wrappers meant for native code would reach the guest, or rebuild it for nothing.
    for native in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(native);
    }
    if let Toolchain::FromSource { rustc, linker } = toolchain {
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", rustc)
            .env("RUSTC_BOOTSTRAP", "1");
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    let status = cargo
        .status()
        .context("cannot run cargo, install Rust from https://rustup.rs")?;
    ensure!(
        status.success(),
        "cargo could not build {}, its reasons are above",
        package.name
    );
    Ok(())
}

/// The name that a plugin goes by: its package without the customary prefix.
fn plugin_name(package: &str) -> &str {
    package
        .strip_prefix("donjon-plugin-")
        .filter(|rest| !rest.is_empty())
        .unwrap_or(package)
}

/// Write aside and rename: a host that watches the folder never sees half a file.
fn install(module: &[u8], folder: &Path, name: &str) -> Result<PathBuf> {
    let place = || format!("cannot write to {}", folder.display());
    let out = folder.join(format!("{name}.wasm"));
    let aside = folder.join(format!(".{name}.wasm.{}.tmp", std::process::id()));
    fs::create_dir_all(folder).with_context(place)?;
    let mut file = fs::File::create(&aside).with_context(place)?;
    file.write_all(module)
        .and_then(|()| file.sync_all())
        .with_context(place)?;
    fs::rename(&aside, &out).with_context(place)?;
    Ok(out)
}

/// The checks that the host makes before it compiles a file, so that what is built can be loaded.
fn examine<'a>(module: &'a [u8], built: &Path) -> Result<Examined<'a>> {
    let how = "end lib.rs with `donjon_plugin::export!(MyPlugin as correlator);`, or the role it has";
    match donjon_runtime::examine(module, MAX_MODULE_BYTES) {
        Ok(examined) => Ok(examined),
        Err(error @ (LoadError::NotAPlugin | LoadError::NoComponentType | LoadError::NoRole)) => {
            bail!(
                "{} exports nothing that a host could call, so none can load it: {how}: {error}",
                built.display()
            )
        }
        Err(error) => bail!("no host can load {}: {error}", built.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(crate_types: &str) -> String {
        format!(
            r#"{{"target_directory": "/w/target", "packages": [
                {{"name": "other", "manifest_path": "/w/other/Cargo.toml", "targets": []}},
                {{"name": "donjon-plugin-my-one", "manifest_path": "/w/one/Cargo.toml",
                  "targets": [{{"name": "test", "crate_types": ["bin"]}}, {{"name": "donjon-plugin-my-one", "crate_types": {crate_types}}}]}}
            ]}}"#
        )
    }

    #[test]
    fn the_plugin_is_found_in_its_workspace() {
        let manifest = Path::new("/w/one/Cargo.toml");
        let package = parse_metadata(metadata(r#"["cdylib", "rlib"]"#).as_bytes(), manifest).unwrap();
        assert_eq!(
            package,
            Package {
                manifest: manifest.into(),
                name: "donjon-plugin-my-one".into(),
                library: "donjon_plugin_my_one".into(),
                target_dir: "/w/target".into()
            }
        );
    }

    #[test]
    fn a_crate_that_makes_no_module_is_refused_with_the_cure() {
        let error = parse_metadata(metadata(r#"["lib"]"#).as_bytes(), Path::new("/w/one/Cargo.toml")).unwrap_err();
        assert!(error.to_string().contains("crate-type = [\"cdylib\""), "{error}");
        let error = parse_metadata(metadata("[]").as_bytes(), Path::new("/w/Cargo.toml")).unwrap_err();
        assert!(error.to_string().contains("folder of one plugin"), "{error}");
    }

    #[test]
    fn a_plugin_goes_by_its_package_without_the_prefix() {
        let names = ["donjon-plugin-rules", "looper", "donjon-plugin-"].map(plugin_name);
        assert_eq!(names, ["rules", "looper", "donjon-plugin-"]);
    }

    #[test]
    fn a_module_that_no_host_can_load_is_no_success() {
        let why = |module: &[u8]| examine(module, Path::new("x.wasm")).unwrap_err().to_string();
        let empty = why(b"\0asm\x01\0\0\0");
        assert!(
            empty.contains("x.wasm exports nothing") && empty.contains("donjon_plugin::export!"),
            "{empty}"
        );
        // A component that exports nothing, which is what a crate without the macro becomes.
        let bare = why(b"\0asm\x0d\0\x01\0");
        assert!(bare.contains("donjon_plugin::export!"), "{bare}");
        let cut = why(b"\0asm\x01\0\0\0\0\xc8");
        assert!(cut.starts_with("no host can load x.wasm"), "{cut}");
    }
}
