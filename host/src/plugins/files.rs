//! The plugin directory as a file system: what is in it and what a file holds. Opens nothing that is no file and waits
//! for nobody: a pipe in the directory never stops the keeper. Knows no plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::settle::{Kind, Seen, Stamp};

/// The extension of plugin files.
pub const EXTENSION: &str = "wasm";
/// Most names that are looked after, whatever they turn out to be; those that are known come first.
pub const MAX_NAMES: usize = 1024;
/// The bit of a mode that lets everybody write.
const EVERYBODY_WRITES: u32 = 0o002;

/// What a look at the directory finds.
#[derive(Debug, Default)]
pub struct Listing {
    /// By the names of the plugins.
    pub files: BTreeMap<String, Seen>,
    /// Names beyond [`MAX_NAMES`].
    pub beyond: usize,
    /// Entries that the system did not name.
    pub unreadable: usize,
    /// Whether everybody may put a plugin there, and so use the grants of any name.
    pub open_to_everybody: bool,
}

/// Looks through the directory. Hidden files and other extensions are none of ours; links are followed at every look.
pub fn list(dir: &Path, known: &BTreeSet<String>) -> io::Result<Listing> {
    let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut unreadable = 0;
    for entry in std::fs::read_dir(dir)? {
        let Ok(entry) = entry else {
            unreadable += 1;
            continue;
        };
        let path = entry.path();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let Some(stem) = stem.filter(|stem| !stem.starts_with('.')) else {
            continue;
        };
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.insert(stem, path);
        }
    }
    let beyond = paths.len().saturating_sub(MAX_NAMES);
    let (first, others): (Vec<_>, Vec<_>) = paths.into_iter().partition(|(name, _)| known.contains(name));
    let files = first.into_iter().chain(others).take(MAX_NAMES);
    Ok(Listing {
        files: files.map(|(name, path)| (name, see(&path))).collect(),
        beyond,
        unreadable,
        open_to_everybody: std::fs::metadata(dir)?.mode() & EVERYBODY_WRITES != 0,
    })
}

fn see(path: &Path) -> Seen {
    match std::fs::metadata(path) {
        Ok(metadata) => Seen {
            stamp: stamp(&metadata),
            quiet: quiet(&metadata),
        },
        // A link whose target does not exist still has a look of its own.
        Err(error) => match std::fs::symlink_metadata(path) {
            Ok(metadata) => {
                let missing =
                    error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(&error) == Some(Errno::LOOP);
                let kind = match metadata.is_symlink() && missing {
                    true => Kind::DanglingLink,
                    false => Kind::Unknown,
                };
                Seen {
                    stamp: Stamp {
                        kind,
                        ..stamp(&metadata)
                    },
                    quiet: quiet(&metadata),
                }
            }
            Err(_) => Seen {
                stamp: Stamp {
                    kind: Kind::Unknown,
                    len: 0,
                    modified: 0,
                    changed: 0,
                    inode: 0,
                },
                quiet: std::time::Duration::ZERO,
            },
        },
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let file_type = metadata.file_type();
    let special =
        file_type.is_fifo() || file_type.is_socket() || file_type.is_char_device() || file_type.is_block_device();
    Stamp {
        kind: match () {
            () if file_type.is_file() => Kind::File,
            () if file_type.is_dir() => Kind::Directory,
            () if special => Kind::Special,
            () => Kind::Unknown,
        },
        len: metadata.len(),
        modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
    }
}

fn quiet(metadata: &Metadata) -> std::time::Duration {
    let written = metadata.modified().ok();
    written
        .and_then(|at| SystemTime::now().duration_since(at).ok())
        .unwrap_or_default()
}

/// What came of reading a file.
#[derive(Debug)]
pub enum Content {
    /// The whole file, which looked as expected before and after.
    Whole(Vec<u8>),
    /// It is larger than the limit; nothing was read.
    TooLarge(u64),
    /// It is another file by now, or it is being written.
    Moved,
}

/// Reads a file that looks like `expected`.
///
/// # Errors
/// What the system says, but for a file that is gone: that has moved.
pub fn read(path: &Path, expected: Stamp, limit: usize) -> io::Result<Content> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Moved),
        Err(error) => return Err(error),
    };
    if stamp(&file.metadata()?) != expected {
        return Ok(Content::Moved);
    }
    if expected.len > limit as u64 {
        return Ok(Content::TooLarge(expected.len));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected.len).unwrap_or_default());
    (&file).take(limit as u64 + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 == expected.len && stamp(&file.metadata()?) == expected;
    Ok(match whole {
        true => Content::Whole(bytes),
        false => Content::Moved,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn listed(dir: &Path) -> Listing {
        list(dir, &BTreeSet::new()).unwrap()
    }

    fn read_now(path: &Path, limit: usize) -> Content {
        read(path, see(path).stamp, limit).unwrap()
    }

    #[test]
    fn a_pipe_never_blocks_whoever_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        std::fs::write(&path, "one").unwrap();
        let seen = listed(dir.path()).files["a"].stamp;
        std::fs::remove_file(&path).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        // It was a file when it was seen, and is a pipe without a writer when it is opened.
        assert!(matches!(read(&path, seen, 10).unwrap(), Content::Moved));
        assert_eq!(listed(dir.path()).files["a"].stamp.kind, Kind::Special);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_has_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        std::fs::write(&path, "one").unwrap();
        let seen = see(&path).stamp;
        assert!(matches!(read(&path, seen, 10).unwrap(), Content::Whole(bytes) if bytes == b"one"));
        std::fs::write(&path, "longer").unwrap();
        assert!(matches!(read(&path, seen, 10).unwrap(), Content::Moved));
        assert!(matches!(read_now(&path, 5), Content::TooLarge(6)));
        assert!(matches!(read_now(&path, 6), Content::Whole(_)));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, seen, 10).unwrap(), Content::Moved));
    }

    #[test]
    fn everything_with_the_extension_is_listed_with_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file.wasm"), "x").unwrap();
        std::fs::write(at(".hidden.wasm"), "x").unwrap();
        std::fs::write(at("other.txt"), "x").unwrap();
        std::fs::create_dir(at("dir.wasm")).unwrap();
        std::os::unix::fs::symlink(at("file.wasm"), at("link.wasm")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("dangling.wasm")).unwrap();
        std::os::unix::fs::symlink(at("circle.wasm"), at("circle.wasm")).unwrap();
        let listing = listed(dir.path());
        let kinds: Vec<_> = listing
            .files
            .iter()
            .map(|(name, seen)| (name.as_str(), seen.stamp.kind))
            .collect();
        let expected = [
            ("circle", Kind::DanglingLink),
            ("dangling", Kind::DanglingLink),
            ("dir", Kind::Directory),
            ("file", Kind::File),
            ("link", Kind::File),
        ];
        assert_eq!(kinds, expected);
        assert!(!listing.open_to_everybody);
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(listed(dir.path()).open_to_everybody);
    }

    #[test]
    fn names_that_are_known_come_before_any_number_of_others() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_NAMES + 10 {
            std::fs::write(dir.path().join(format!("a{number:04}.wasm")), "x").unwrap();
        }
        std::fs::write(dir.path().join("rules.wasm"), "x").unwrap();
        let listing = list(dir.path(), &BTreeSet::from(["rules".to_owned()])).unwrap();
        assert!(listing.files.contains_key("rules"));
        assert_eq!((listing.files.len(), listing.beyond), (MAX_NAMES, 11));
    }
}
