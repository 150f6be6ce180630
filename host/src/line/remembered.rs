//! The names of plugins that served as correlators of rules, kept in the data directory: such a plugin is required until
//! the configuration says otherwise, also where it was refused, or its file deleted, before this start. A name a line.
//! Knows no plugin.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names, in memory and on disk.
#[derive(Default)]
pub struct Remembered {
    /// None keeps them for as long as the process lives.
    file: Option<PathBuf>,
    names: Mutex<BTreeSet<String>>,
}

impl Remembered {
    /// Reads the names, without those that are `forgotten` from now on.
    ///
    /// # Errors
    /// The file is there and cannot be read, or not be written without the forgotten ones.
    pub fn open(file: &Path, forgotten: impl Fn(&str) -> bool) -> io::Result<Remembered> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let names: BTreeSet<String> = lines().filter(|name| !forgotten(name)).map(str::to_owned).collect();
        if names.len() < lines().count() {
            write(file, &names)?;
        }
        Ok(Remembered {
            file: Some(file.to_owned()),
            names: Mutex::new(names),
        })
    }

    /// Adds a name for good. What cannot be written is told, and holds until the end of the process.
    pub fn add(&self, name: &str) {
        let mut names = self.names();
        if !names.insert(name.to_owned()) {
            return;
        }
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, &names) {
            let path = file.display();
            tracing::error!(
                plugin = name,
                "cannot note that the plugin is required, so the next start would go on without it if it were missing; \
                 check the data directory, or set its policy: {path}: {error}"
            );
        }
    }

    /// Whether it is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    /// All of them.
    pub fn all(&self) -> BTreeSet<String> {
        self.names().clone()
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In one step: the file has the names of before or those of now.
fn write(file: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    let aside = file.with_extension("tmp");
    let mut writer = fs::File::create(&aside)?;
    for name in names {
        writeln!(writer, "{name}")?;
    }
    writer.sync_all()?;
    fs::rename(&aside, file)?;
    match file.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_at_the_next_start_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("required-plugins");
        let names = |remembered: &Remembered| remembered.all().into_iter().collect::<Vec<_>>();
        let remembered = Remembered::open(&file, |_| false).unwrap();
        remembered.add("rules");
        remembered.add("other");
        remembered.add("rules");
        assert_eq!(names(&Remembered::open(&file, |_| false).unwrap()), ["other", "rules"]);
        // Forgotten for good, not for this start only.
        assert_eq!(
            names(&Remembered::open(&file, |name| name == "other").unwrap()),
            ["rules"]
        );
        assert_eq!(names(&Remembered::open(&file, |_| false).unwrap()), ["rules"]);
    }

    #[test]
    fn names_that_cannot_be_read_are_an_error_and_not_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("required-plugins");
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(Remembered::open(&file, |_| false).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(Remembered::open(&file, |_| false).is_err());
    }
}
