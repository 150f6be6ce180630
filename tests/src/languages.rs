//! Plugins in other languages, built with the commands that their authors use. Kept under the content of everything that
//! goes into them, as making one takes many seconds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use donjon_runtime::hash_of;

use crate::files::root;
use crate::services::tool;

/// A language, with the pinned tool of `.make/setup-languages.sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// With componentize-py.
    Python,
    /// With jco, on QuickJS.
    JavaScript,
}

impl Language {
    /// Its folder under `tests/guests/other-languages`.
    fn folder(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::JavaScript => "javascript",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Language::Python => "componentize-py-0.25.1",
            Language::JavaScript => "jco-1.35.0",
        }
    }

    /// What README.md tells authors to run, but for the names of files.
    fn arguments(self, out: &str) -> Vec<String> {
        let line = match self {
            Language::Python => format!("-d wit -w small-enricher componentize team -o {out}"),
            Language::JavaScript => format!(
                "componentize team.js --wit wit --world-name small-enricher --backend qjs --backend-qjs-disable-async -o {out}"
            ),
        };
        line.split(' ').map(str::to_owned).collect()
    }
}

/// The enricher `team` in a language.
pub fn team(language: Language) -> anyhow::Result<Vec<u8>> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = root().join("tests/guests/other-languages").join(language.folder());
    let mut parts = files_below(&sources, "")?;
    parts.extend(files_below(&root().join("wit"), "wit/")?);
    parts.sort();
    let mut all = format!("{} {}", language.tool(), language.arguments("").join(" ")).into_bytes();
    for (name, content) in &parts {
        all.extend(format!("\0{name} {}\0", content.len()).into_bytes());
        all.extend(content);
    }
    let kept = root()
        .join("target/other-languages")
        .join(format!("{}.wasm", hash_of(&all)));
    if !kept.exists() {
        let made = make(language, &parts)?;
        std::fs::create_dir_all(root().join("target/other-languages"))?;
        // Whole or not at all, also if the tests are killed here.
        let beside = kept.with_extension("new");
        std::fs::write(&beside, made)?;
        std::fs::rename(&beside, &kept)?;
    }
    std::fs::read(&kept).with_context(|| format!("read {}", kept.display()))
}

/// In a folder of its own, as the tools write beside the sources.
fn make(language: Language, parts: &[(String, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    for (name, content) in parts {
        let place = dir.path().join(name);
        std::fs::create_dir_all(place.parent().unwrap_or(dir.path()))?;
        std::fs::write(place, content)?;
    }
    let built = Command::new(tool(language.tool()))
        .args(language.arguments("out.wasm"))
        .current_dir(dir.path())
        .output()
        .with_context(|| format!("run {}; run `make setup` first", language.tool()))?;
    ensure!(
        built.status.success(),
        "build team with {}: {}{}",
        language.tool(),
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(std::fs::read(dir.path().join("out.wasm"))?)
}

fn files_below(dir: &Path, name: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path: PathBuf = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && file != "__pycache__" {
            found.extend(files_below(&path, &format!("{name}{file}/"))?);
        } else if path.is_file() {
            found.push((format!("{name}{file}"), std::fs::read(&path)?));
        }
    }
    Ok(found)
}
