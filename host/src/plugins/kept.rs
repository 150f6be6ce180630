//! The last good file of each name, kept in the data directory: after a bad overwrite of the file in the plugin
//! directory the good one is still there for the next start. Bounded in bytes; what does not fit is told and not kept.
//! What is kept is checked like any other file before it runs. Knows no plugin and no records.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// All files that are kept, together.
pub const MAX_KEPT_BYTES: u64 = 512 << 20;
const EXTENSION: &str = ".wasm";

/// The kept files: `NAME.HASH.wasm`.
pub struct Kept {
    dir: PathBuf,
    max_bytes: u64,
    /// One writer at a time, so that the sum holds.
    writing: Mutex<()>,
}

/// A kept file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// The plugin.
    pub name: String,
    /// What its content is named by.
    pub hash: String,
    path: PathBuf,
    bytes: u64,
    written: Option<SystemTime>,
}

impl Kept {
    /// Opens or makes the directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(dir: &Path, max_bytes: u64) -> io::Result<Kept> {
        fs::create_dir_all(dir)?;
        Ok(Kept {
            dir: dir.to_owned(),
            max_bytes,
            writing: Mutex::new(()),
        })
    }

    /// The names of which a file is kept.
    pub fn names(&self) -> BTreeSet<String> {
        let files = self.files().unwrap_or_default();
        files.into_iter().map(|file| file.name).collect()
    }

    /// Keeps a file in place of the one before of this name. Others of names that are not `wanted` make room.
    ///
    /// # Errors
    /// It cannot be written, or there is no room below the limit.
    pub fn keep(&self, name: &str, hash: &str, bytes: &[u8], wanted: &BTreeSet<String>) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files()?;
        let (of_name, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.name == name);
        if of_name
            .iter()
            .any(|file| file.hash == hash && file.bytes == bytes.len() as u64)
        {
            return Ok(());
        }
        let (needed, unwanted): (Vec<_>, Vec<_>) = others.into_iter().partition(|file| wanted.contains(&file.name));
        let mut sum = needed.iter().chain(&unwanted).map(|file| file.bytes).sum::<u64>() + bytes.len() as u64;
        for file in unwanted {
            if sum > self.max_bytes {
                fs::remove_file(&file.path)?;
                sum -= file.bytes;
            }
        }
        if sum > self.max_bytes {
            let text = format!(
                "all kept files together would be over the limit of {} bytes: {sum}",
                self.max_bytes
            );
            return Err(io::Error::other(text));
        }
        let aside = self.dir.join(format!(".{name}.tmp"));
        let mut file = fs::File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, self.dir.join(format!("{name}.{hash}{EXTENSION}")))?;
        for old in of_name {
            fs::remove_file(&old.path)?;
        }
        fs::File::open(&self.dir)?.sync_all()
    }

    /// The kept file of a name: the newest, if a crash left the one before beside it. Whoever reads it compares its hash.
    pub fn find(&self, name: &str) -> Option<KeptFile> {
        let files = self.files().ok()?.into_iter();
        files.filter(|file| file.name == name).max_by_key(|file| file.written)
    }

    /// The content of a kept file.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, file: &KeptFile) -> io::Result<Vec<u8>> {
        fs::read(&file.path)
    }

    /// Keeps nothing of this name any more: its file was taken away on purpose.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files()?;
        files
            .iter()
            .filter(|file| file.name == name)
            .try_for_each(|file| fs::remove_file(&file.path))
    }

    fn files(&self) -> io::Result<Vec<KeptFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let parts = file_name
                .to_str()
                .filter(|text| !text.starts_with('.'))
                .and_then(|text| text.strip_suffix(EXTENSION))
                .and_then(|text| text.split_once('.'));
            let metadata = entry.metadata()?;
            if let Some((name, hash)) = parts.filter(|_| metadata.is_file()) {
                files.push(KeptFile {
                    name: name.to_owned(),
                    hash: hash.to_owned(),
                    path: entry.path(),
                    bytes: metadata.len(),
                    written: metadata.modified().ok(),
                });
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn one_file_a_name_is_kept_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(&dir.path().join("kept"), 100).unwrap();
        kept.keep("a", "h1", b"one", &names(&[])).unwrap();
        kept.keep("a", "h2", b"two!", &names(&[])).unwrap();
        kept.keep("a-b", "h3", b"other", &names(&[])).unwrap();
        let again = Kept::open(&dir.path().join("kept"), 100).unwrap();
        let file = again.find("a").unwrap();
        assert_eq!(
            (file.hash.as_str(), again.read(&file).unwrap()),
            ("h2", b"two!".to_vec())
        );
        assert_eq!(again.names(), names(&["a", "a-b"]));
        again.forget("a").unwrap();
        assert_eq!((again.find("a"), again.names()), (None, names(&["a-b"])));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_names_in_use_never_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path(), 10).unwrap();
        kept.keep("used", "h", b"12345", &names(&["used"])).unwrap();
        kept.keep("unused", "h", b"12345", &names(&["used"])).unwrap();
        kept.keep("new", "h", b"1234", &names(&["used"])).unwrap();
        assert_eq!(kept.names(), names(&["new", "used"]));
        let error = kept
            .keep("large", "h", b"1234567", &names(&["new", "used"]))
            .unwrap_err();
        assert!(error.to_string().contains("limit of 10 bytes: 16"), "{error}");
        assert_eq!(kept.names(), names(&["new", "used"]));
    }
}
