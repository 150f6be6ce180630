//! Compiled plugins on disk, so that a restart does not compile again. The only module with `unsafe`: loading machine
//! code is as good as running it, so every entry carries a keyed digest (HMAC-SHA256) under a key that only this
//! machine's user can read, made for exactly this file and this build of wasmtime. Anything else is compiled anew.
//! Knows nothing of what the components are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::errors::RuntimeError;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const BLOCK_BYTES: usize = 64;
const EXTENSION: &str = "cwasm";
const RANDOM_SOURCE: &str = "/dev/urandom";
const OTHERS_BITS: u32 = 0o077;

pub(crate) struct CompileCache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    engine: Engine,
    files: usize,
    /// Tells temporary files of this process apart: two plugins may be compiled at once.
    written: AtomicU64,
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
        let key_path = dir.join(KEY_FILE);
        let key = match read_key(&key_path).map_err(at(&key_path))? {
            Some(key) => key,
            None => make_key(&key_path).map_err(at(&key_path))?,
        };
        Ok(CompileCache {
            dir: dir.to_owned(),
            key,
            engine: engine.clone(),
            files,
            written: AtomicU64::new(0),
        })
    }

    /// The compiled form of the file with this hash, if the cache has one that it wrote itself.
    pub(crate) fn get(&self, hash: &str) -> Option<Component> {
        let name = self.name(hash);
        let bytes = std::fs::read(self.dir.join(&name)).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC_BYTES)?;
        if !same(mac, &mac_of(&self.key, name.as_bytes(), code)) {
            tracing::warn!(file = %name, "a compiled plugin in the cache was changed by somebody else; compiling again");
            return None;
        }
        load(&self.engine, code)
            .inspect_err(|e| tracing::warn!(file = %name, "cannot load a compiled plugin; compiling again: {e:#}"))
            .ok()
    }

    /// Keeps a compiled plugin. A failure costs time at the next start and nothing else, so it is only logged.
    pub(crate) fn put(&self, hash: &str, component: &Component) {
        let written = component.serialize().map_err(|e| format!("{e:#}")).and_then(|code| {
            let name = self.name(hash);
            let mac = mac_of(&self.key, name.as_bytes(), &code);
            self.write(&name, &mac, &code).map_err(|e| e.to_string())
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

    fn write(&self, name: &str, mac: &[u8], code: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{name}.{}-{number}.tmp", std::process::id()));
        let mut file = private_file().create(true).truncate(true).open(&temporary)?;
        let written = file.write_all(mac).and_then(|()| file.write_all(code));
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

/// The key, unless there is none or somebody else could have read it.
fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if file.metadata()?.permissions().mode() & OTHERS_BITS != 0 {
        tracing::warn!(path = %path.display(), "the cache's key was readable by others; making a new one");
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(<[u8; KEY_BYTES]>::try_from(bytes).ok())
}

fn make_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0u8; KEY_BYTES];
    std::fs::File::open(RANDOM_SOURCE)?.read_exact(&mut key)?;
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    private_file().create_new(true).open(path)?.write_all(&key)?;
    Ok(key)
}

fn private_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// HMAC-SHA256 (RFC 2104) over the name, its length and the code.
fn mac_of(key: &[u8; KEY_BYTES], name: &[u8], code: &[u8]) -> [u8; MAC_BYTES] {
    hmac(key, &[&(name.len() as u64).to_be_bytes(), name, code])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK_BYTES];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        Sha256::new_with_prefix(block)
    };
    let mut inner = pad(0x36);
    for part in parts {
        inner.update(part);
    }
    pad(0x5c).chain_update(inner.finalize()).finalize().into()
}

/// Compares without telling by its duration where the difference is.
fn same(a: &[u8], b: &[u8; MAC_BYTES]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            hex(&mac),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let mac = hmac(&[0x0b; 20], &[b"Hi There"]);
        assert_eq!(
            hex(&mac),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn a_key_that_others_can_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        let first = make_key(&path).unwrap();
        assert_eq!(read_key(&path).unwrap(), Some(first));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read_key(&path).unwrap(), None);
        assert_ne!(make_key(&path).unwrap(), first);
    }
}
