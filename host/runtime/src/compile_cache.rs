//! Compiled plugins on disk, so that a restart does not compile again. The only module with `unsafe`: loading machine
//! code is as good as running it, so every entry carries a keyed digest (HMAC-SHA256) under a key that only this
//! machine's user can read or write, made for exactly this file and this build of wasmtime. Anything else is compiled
//! anew. Links are not followed. Knows nothing of what the components are; where the directory is, others decide, and
//! never inside the data: data is copied between machines, and would bring its own key along.

use std::fs::{Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{CWD, OFlags, RenameFlags};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::errors::RuntimeError;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";
/// Largest entry that is read: the machine code of the largest file is a few times as long as the file.
const MAX_ENTRY_BYTES: u64 = 512 << 20;
const OTHERS_BITS: u32 = 0o077;
const OTHERS_WRITE_BITS: u32 = 0o022;

pub(crate) struct CompileCache {
    dir: PathBuf,
    key: hmac::Key,
    engine: Engine,
    files: usize,
}

impl CompileCache {
    /// Opens or makes the directory and its key.
    pub(crate) fn open(dir: &Path, engine: &Engine, files: usize) -> Result<CompileCache, RuntimeError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| RuntimeError::Cache { path, cause }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(at(dir))?;
        let (user, was_open) = claim(dir).map_err(at(dir))?;
        let key_path = dir.join(KEY_FILE);
        let known = match was_open {
            true => None,
            false => read_key(&key_path, user).map_err(at(&key_path))?,
        };
        let key = match known {
            Some(key) => key,
            None => make_key(&key_path, user).map_err(at(&key_path))?,
        };
        Ok(CompileCache {
            dir: dir.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            engine: engine.clone(),
            files,
        })
    }

    /// The compiled form of the file with this hash, if the cache has one that it wrote itself.
    pub(crate) fn get(&self, hash: &str) -> Option<Component> {
        let name = self.name(hash);
        let bytes = self.read(&name)?;
        let (mac, signed) = bytes.split_at_checked(MAC_BYTES)?;
        let code = signed.strip_prefix(header(&name).as_slice());
        let Some(code) = code.filter(|_| hmac::verify(&self.key, signed, mac).is_ok()) else {
            tracing::warn!(file = %name, "a compiled plugin in the cache was changed by somebody else; compiling again");
            return None;
        };
        load(&self.engine, code)
            .inspect_err(|e| tracing::warn!(file = %name, "cannot load a compiled plugin; compiling again: {e:#}"))
            .ok()
    }

    /// The whole entry. Its time is moved on, so that what is used is the last to be forgotten.
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = no_link().read(true).open(self.dir.join(name)).ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > MAX_ENTRY_BYTES {
            tracing::warn!(file = %name, "a compiled plugin in the cache is no file of a possible size; compiling again");
            return None;
        }
        // Without it the entry is forgotten earlier, and nothing else.
        let _ = file.set_modified(SystemTime::now());
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
        file.take(MAX_ENTRY_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Keeps a compiled plugin. A failure costs time at the next start and nothing else, so it is only logged.
    pub(crate) fn put(&self, hash: &str, component: &Component) {
        let written = component.serialize().map_err(|e| format!("{e:#}")).and_then(|code| {
            let name = self.name(hash);
            self.write(&name, &code).map_err(|e| e.to_string())
        });
        if let Err(e) = written {
            tracing::warn!(dir = %self.dir.display(), "cannot keep a compiled plugin: {e}");
        }
        self.forget_oldest();
    }

    /// Names the file after everything that must be equal for the code to be right.
    fn name(&self, hash: &str) -> String {
        let mut engine = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut engine);
        format!("{hash}-{:016x}.{EXTENSION}", engine.finish())
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let header = header(name);
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(&header);
        signing.update(code);
        let mac = signing.sign();
        let temporary = self.dir.join(temporary_name()?);
        let mut file = private_file().open(&temporary)?;
        let parts = [mac.as_ref(), header.as_slice(), code];
        let written = parts.into_iter().try_for_each(|part| file.write_all(part));
        drop(file);
        let renamed = written.and_then(|()| std::fs::rename(&temporary, self.dir.join(name)));
        renamed.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }

    fn forget_oldest(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|e| e == EXTENSION))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(self.files);
        for (_, path) in files.into_iter().take(surplus) {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Makes a component of machine code that `Component::serialize` of this engine's configuration wrote.
#[expect(
    unsafe_code,
    reason = "wasmtime cannot check machine code; the caller has checked who wrote it"
)]
fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that came from `serialize` unchanged. The only caller compared their
    // HMAC-SHA256 under a key that only this process's user can read; wasmtime itself refuses another build's output.
    unsafe { Component::deserialize(engine, code) }
}

/// What is signed before the code: the name of the entry and its length, so that no entry passes for another.
fn header(name: &str) -> Vec<u8> {
    let mut header = (name.len() as u64).to_be_bytes().to_vec();
    header.extend_from_slice(name.as_bytes());
    header
}

/// Makes sure that the directory is ours and that nobody else can write to it. Answers the user that we are, and whether
/// others could write so far.
fn claim(dir: &Path) -> io::Result<(u32, bool)> {
    let metadata = std::fs::symlink_metadata(dir)?;
    if !metadata.is_dir() {
        return Err(io::Error::other("it is a link or a file; name a directory"));
    }
    let user = own_user(dir)?;
    if metadata.uid() != user {
        return Err(io::Error::other(
            "it belongs to another user, who could put machine code there",
        ));
    }
    let was_open = metadata.mode() & OTHERS_WRITE_BITS != 0;
    if was_open {
        tracing::warn!(dir = %dir.display(), "others could write to the directory of compiled plugins; it is closed and emptied of trust: a new key");
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok((user, was_open))
}

/// The user that files of this process belong to: that of a file made for the purpose.
fn own_user(dir: &Path) -> io::Result<u32> {
    let probe = dir.join(temporary_name()?);
    let user = private_file().open(&probe)?.metadata().map(|metadata| metadata.uid());
    drop(std::fs::remove_file(&probe));
    user
}

/// The key, unless there is none or somebody else could have read or written it.
fn read_key(path: &Path, user: u32) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let file = match no_link().read(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            tracing::warn!(path = %path.display(), "the cache's key cannot be opened; making a new one: {e}");
            return Ok(None);
        }
    };
    if !is_private(&file.metadata()?, user) {
        tracing::warn!(path = %path.display(), "the cache's key was within reach of others; making a new one");
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(<[u8; KEY_BYTES]>::try_from(bytes).ok())
}

/// A file of ours under one name, that nobody else can open.
fn is_private(metadata: &Metadata, user: u32) -> bool {
    metadata.is_file() && metadata.uid() == user && metadata.nlink() == 1 && metadata.mode() & OTHERS_BITS == 0
}

/// Makes a key, unless another process that starts on the same directory is faster: then that one is ours too.
fn make_key(path: &Path, user: u32) -> io::Result<[u8; KEY_BYTES]> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let key: [u8; KEY_BYTES] = random()?;
    let temporary = path.with_file_name(temporary_name()?);
    private_file().open(&temporary)?.write_all(&key)?;
    let only_if_new = rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE);
    match only_if_new.map_err(io::Error::from) {
        Ok(()) => Ok(key),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            drop(std::fs::remove_file(&temporary));
            read_key(path, user)?.ok_or(e)
        }
        // A file system that cannot tell: the last one wins, and the other compiles once more.
        Err(_) => std::fs::rename(&temporary, path).map(|()| key),
    }
}

fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0u8; BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

/// A name that no other process and no other thread takes.
fn temporary_name() -> io::Result<String> {
    Ok(format!("{:016x}.tmp", u64::from_be_bytes(random()?)))
}

/// A new file that only we can open.
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

/// Opens files, not links, and never waits for the other end of a pipe.
fn no_link() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(dir: &Path) -> Vec<u8> {
        std::fs::read(dir.join(KEY_FILE)).unwrap()
    }

    fn open(dir: &Path) -> Result<CompileCache, RuntimeError> {
        CompileCache::open(dir, &Engine::default(), 8)
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_or_directory_within_reach_of_others_means_a_new_key() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/cache");
        let reopened = || {
            open(&dir).unwrap();
            key_of(&dir)
        };
        let first = reopened();
        assert_eq!(reopened(), first);
        set_mode(&dir.join(KEY_FILE), 0o644);
        let second = reopened();
        assert_ne!(second, first);
        set_mode(&dir, 0o777);
        let third = reopened();
        assert_ne!(third, second);
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);

        // A key under a second name, or behind a link, may be somebody else's.
        std::fs::hard_link(dir.join(KEY_FILE), dir.join("copy")).unwrap();
        let fourth = reopened();
        assert_ne!(fourth, third);
        std::fs::rename(dir.join(KEY_FILE), dir.join("moved")).unwrap();
        std::os::unix::fs::symlink(dir.join("moved"), dir.join(KEY_FILE)).unwrap();
        assert_ne!(reopened(), fourth);
        assert!(std::fs::symlink_metadata(dir.join(KEY_FILE)).unwrap().is_file());
    }

    #[test]
    fn a_directory_that_is_a_link_or_another_user_s_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(open(&link).err().unwrap().to_string().contains("name a directory"));
        // Only root can give a directory away.
        if std::os::unix::fs::chown(&real, Some(12_345), None).is_ok() {
            assert!(open(&real).err().unwrap().to_string().contains("another user"));
        }
    }

    #[test]
    fn an_entry_that_is_a_link_or_a_pipe_is_compiled_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path()).unwrap();
        let component = Component::from_binary(&cache.engine, &wat::parse_str("(component)").unwrap()).unwrap();
        cache.put("hash", &component);
        assert!(cache.get("hash").is_some());
        let entry = dir.path().join(cache.name("hash"));
        std::fs::rename(&entry, dir.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("moved"), &entry).unwrap();
        assert!(cache.get("hash").is_none());
        std::fs::remove_file(&entry).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&entry).status().unwrap();
        assert!(made.success() && cache.get("hash").is_none());
    }

    #[test]
    fn what_is_used_is_the_last_to_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = open(dir.path()).unwrap();
        cache.files = 2;
        let component = Component::from_binary(&cache.engine, &wat::parse_str("(component)").unwrap()).unwrap();
        for (hash, age_seconds) in [("old", 200), ("older", 300)] {
            cache.put(hash, &component);
            let entry = OpenOptions::new()
                .write(true)
                .open(dir.path().join(cache.name(hash)))
                .unwrap();
            let at = SystemTime::now() - std::time::Duration::from_secs(age_seconds);
            entry.set_modified(at).unwrap();
        }
        assert!(cache.get("older").is_some());
        cache.put("new", &component);
        let kept = ["old", "older", "new"].map(|hash| dir.path().join(cache.name(hash)).exists());
        assert_eq!(kept, [false, true, true]);
    }
}
