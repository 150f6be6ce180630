//! Where things are: the built binary, the built plugins and guests, the fixtures.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The built server; `make test` builds it before the tests.
pub fn donjon() -> PathBuf {
    std::env::var_os("DONJON_TEST_BINARY").map_or_else(|| root().join("target/release/donjon"), PathBuf::from)
}

/// A first-party component, built by `make build`.
pub fn plugin(name: &str) -> PathBuf {
    root().join(format!("target/plugins/{name}.wasm"))
}

/// A file beside the project where there is one, else our copy of it.
pub fn shared(beside: &str, copy: &str) -> PathBuf {
    let beside = root().join("../shared").join(beside);
    if beside.exists() {
        beside
    } else {
        root().join("tests/fixtures").join(copy)
    }
}

/// A guest of `tests/guests`, compiled to wasm32 once a run with the tool that plugin authors use.
pub fn guest(name: &str) -> anyhow::Result<PathBuf> {
    static BUILDING: OnceLock<std::sync::Mutex<()>> = OnceLock::new();
    let _one_at_a_time = BUILDING.get_or_init(Default::default).lock();
    let out = root().join("target/guests");
    let built = Command::new(donjon())
        .args(["plugin", "build", "--out"])
        .arg(&out)
        .arg(root().join("tests/guests").join(name))
        .output()
        .context("run donjon plugin build")?;
    ensure!(
        built.status.success(),
        "build guest {name}: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    let path = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    Ok(PathBuf::from(path))
}
