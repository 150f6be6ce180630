//! The data directory: who owns it, and which layout it has. Knows nothing of what is inside its folders.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The layout that this version writes and the only one that it reads.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";
/// Made at the first opening.
const FOLDERS: [&str; 3] = ["journal", "state", "checkpoints"];

/// A data directory, locked for this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The lock ends with the file.
    _lock: File,
}

/// A data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "data directory is in use by another process{}; stop that one or choose another directory: {}",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, where it said so.
        pid: Option<u32>,
    },
    /// It was written by a version with another layout.
    #[error(
        "data directory {} has another format; run the version that wrote it: expected {FORMAT}, found {found}",
        path.display()
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// The content of `FORMAT`.
        found: String,
    },
    /// There is data, and nothing that says how it is laid out.
    #[error(
        "data directory has data but no file {FORMAT_FILE}, which says how it is laid out; restore that file from a \
         backup, or, if this version of donjon wrote the data, write it with: echo 'donjon {FORMAT}' > {}",
        path.join(FORMAT_FILE).display()
    )]
    NoFormat {
        /// The directory.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl DataDir {
    /// Opens a data directory, creating it (mode 0700) if there is none, and takes its lock.
    ///
    /// # Errors
    /// Another process has it, it has another format, or the file system refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<DataDir, OpenError> {
        let path = path.as_ref().to_owned();
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        create_private(&path).map_err(io("create data directory", &path))?;
        let lock = lock(&path)?;
        check_format(&path)?;
        for folder in FOLDERS.map(|name| path.join(name)) {
            create_private(&folder).map_err(io("create folder", &folder))?;
        }
        sync_dir(&path).map_err(io("sync data directory", &path))?;
        Ok(DataDir { path, _lock: lock })
    }

    /// The directory itself; other folders (a plugin cache) are made in it by their owners.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The folder of the checkpoints of derived state.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The folder of the derived state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }
}

fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let io = |action, source| OpenError::Io {
        action,
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| io("open lock", source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Best effort: the owner may be about to write its number.
            let _ = (&mut file).take(32).read_to_string(&mut text);
            return Err(OpenError::InUse {
                path: dir.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(io("lock", source)),
    }
    let write_pid = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write_pid(&mut file).map_err(|source| io("write lock", source))?;
    Ok(file)
}

/// A directory without `FORMAT` and without data is new, or the process died right after creating it: both get one. The
/// file is renamed into place, so that it is there whole or not at all, and made durable before there is any data: one
/// that is missing beside data was taken away.
fn check_format(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(FORMAT_FILE);
    let io = |action| {
        let path = path.clone();
        move |source| OpenError::Io { action, path, source }
    };
    let expected = format!("donjon {FORMAT}\n");
    match File::open(&path) {
        Ok(file) => {
            let mut found = String::new();
            file.take(64).read_to_string(&mut found).map_err(io("read format"))?;
            if found == expected {
                return Ok(());
            }
            let found = found.trim().trim_start_matches("donjon ").to_owned();
            Err(OpenError::Format {
                path: dir.to_owned(),
                found,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_data(dir).map_err(io("look for data beside"))? {
                return Err(OpenError::NoFormat { path: dir.to_owned() });
            }
            let draft = dir.join("FORMAT.new");
            let write = || {
                let mut file = File::create(&draft)?;
                file.write_all(expected.as_bytes())?;
                file.sync_all()?;
                fs::rename(&draft, &path)?;
                sync_dir(dir)
            };
            write().map_err(io("write format"))
        }
        Err(source) => Err(io("read format")(source)),
    }
}

/// Whether something is in one of the folders.
fn has_data(dir: &Path) -> io::Result<bool> {
    for folder in FOLDERS {
        match fs::read_dir(dir.join(folder)) {
            Ok(mut items) => {
                if items.next().is_some() {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// What to do about an error of the file system, where that is plain.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; nothing that was accepted is lost: free some space and start again"
        }
        _ => "",
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/data");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(
            matches!(&error, OpenError::InUse { pid: Some(pid), .. } if *pid == std::process::id()),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("data directory is in use by another process"),
            "{error}"
        );
        assert!(error.to_string().ends_with(&path.display().to_string()), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_directory_of_another_format_is_refused_with_both_numbers() {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::open(temp.path()).unwrap());
        fs::write(temp.path().join(FORMAT_FILE), "donjon 7\n").unwrap();
        let error = DataDir::open(temp.path()).unwrap_err().to_string();
        assert!(error.ends_with("expected 1, found 7"), "{error}");
    }

    #[test]
    fn data_without_its_format_is_refused_with_what_to_do() {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::open(temp.path()).unwrap());
        fs::remove_file(temp.path().join(FORMAT_FILE)).unwrap();
        drop(DataDir::open(temp.path()).unwrap());
        assert!(temp.path().join(FORMAT_FILE).exists(), "folders without data are new");
        fs::write(temp.path().join("journal/x"), b"x").unwrap();
        fs::remove_file(temp.path().join(FORMAT_FILE)).unwrap();
        for _ in 0..2 {
            let error = DataDir::open(temp.path()).unwrap_err();
            assert!(matches!(error, OpenError::NoFormat { .. }), "{error}");
            assert!(error.to_string().contains("echo 'donjon 1'"), "{error}");
        }
    }

    #[test]
    fn the_directory_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::open(temp.path().join("data")).unwrap();
        let mode = fs::metadata(data.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
