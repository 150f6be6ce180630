//! The capabilities as the generated bindings have them, answered by the host of the tests.
//!
//! The shape must stay that of the bindings: `host/` calls one or the other without knowing which.

use super::{Progress, Stored, Topology, with};
use crate::Error;

pub(crate) mod log {
    use super::with;
    use crate::host::log::Level;

    pub(crate) fn log(level: Level, message: &str) {
        with(|host| host.lines.push((level, message.to_owned())));
    }
}

pub(crate) mod clock {
    use super::with;

    pub(crate) fn now() -> u64 {
        with(|host| host.now)
    }
}

pub(crate) mod config {
    use super::with;

    pub(crate) fn get(path: &str) -> Option<String> {
        with(|host| host.config.get(path).cloned())
    }
}

pub(crate) mod kv {
    use std::ops::Bound;

    use super::super::Host;
    use super::{Error, Stored, with};
    use crate::host::kv::Entry;

    const KEY_BYTES: usize = 512;
    const VALUE_BYTES: usize = 64 * 1024;
    const SCAN_ENTRIES: usize = 1_000;
    const SCAN_BYTES: usize = 1 << 20;

    fn live<'a>(host: &'a Host, key: &str) -> Option<&'a Vec<u8>> {
        host.kv
            .get(key)
            .filter(|stored| is_live(host, stored))
            .map(|stored| &stored.value)
    }

    fn is_live(host: &Host, stored: &Stored) -> bool {
        stored.expires.is_none_or(|expires| host.now < expires)
    }

    fn check(key: &str, value: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES {
            return Err(Error::Quota(format!(
                "key longer than {KEY_BYTES} bytes: {}",
                key.len()
            )));
        }
        if value.len() > VALUE_BYTES {
            return Err(Error::Quota(format!(
                "value longer than {VALUE_BYTES} bytes: {}",
                value.len()
            )));
        }
        Ok(())
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(with(|host| live(host, key).cloned()))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), Error> {
        check(key, value)?;
        with(|host| {
            let expires = ttl_ms.map(|ttl| host.now.saturating_add(ttl));
            host.kv.insert(
                key.to_owned(),
                Stored {
                    value: value.to_owned(),
                    expires,
                },
            );
        });
        Ok(())
    }

    pub(crate) fn cas(key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Error> {
        let as_expected = with(|host| live(host, key).map(Vec::as_slice) == expected);
        if as_expected {
            set(key, value, None)?;
        }
        Ok(as_expected)
    }

    pub(crate) fn delete(key: &str) -> Result<(), Error> {
        with(|host| host.kv.remove(key));
        Ok(())
    }

    pub(crate) fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, Error> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found: Vec<Entry> = with(|host| {
            host.kv
                .range::<str, _>((start, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .filter(|(_, stored)| is_live(host, stored))
                .take(limit)
                .map(|(key, stored)| Entry {
                    key: key.clone(),
                    value: stored.value.clone(),
                })
                .collect()
        });
        let bytes: usize = found.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        if found.len() > SCAN_ENTRIES || bytes > SCAN_BYTES {
            return Err(Error::Quota(format!(
                "a scan finds more than {SCAN_ENTRIES} entries or {SCAN_BYTES} bytes; ask for fewer, each time after the last one: {} entries, {bytes} bytes",
                found.len()
            )));
        }
        Ok(found)
    }
}

pub(crate) mod topology {
    use super::{Error, Topology, with};
    use crate::host::topology::{Application, Dependency};

    fn of<R: Default>(tenant: &str, read: impl FnOnce(&Topology) -> R) -> Result<R, Error> {
        Ok(with(|host| host.topologies.get(tenant).map(read).unwrap_or_default()))
    }

    pub(crate) fn version(tenant: &str) -> Result<u64, Error> {
        of(tenant, |topology| topology.version)
    }

    pub(crate) fn service(tenant: &str, name: &str) -> Result<Option<String>, Error> {
        of(tenant, |topology| topology.services.get(name).cloned())
    }

    pub(crate) fn dependencies(tenant: &str) -> Result<Vec<Dependency>, Error> {
        of(tenant, |topology| topology.dependencies.clone())
    }

    pub(crate) fn applications(tenant: &str) -> Result<Vec<Application>, Error> {
        of(tenant, |topology| topology.applications.clone())
    }
}

pub(crate) mod history {
    use super::{Error, with};

    pub(crate) fn recent(tenant: &str, fingerprint: &str, limit: u32) -> Result<Vec<Vec<u8>>, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let key = (tenant.to_owned(), fingerprint.to_owned());
        Ok(with(|host| {
            host.history
                .get(&key)
                .into_iter()
                .flatten()
                .take(limit)
                .cloned()
                .collect()
        }))
    }
}

pub(crate) mod elasticsearch {
    use super::{Error, with};
    use crate::host::elasticsearch::{Request, Response};

    pub(crate) fn send(connection: &str, request: &Request) -> Result<Response, Error> {
        // Taken out while it answers, so that it may itself use the test host.
        let Some(mut answer) = with(|host| host.elasticsearch.take()) else {
            return Err(Error::Denied(format!("no connection of that name: {connection}")));
        };
        let response = answer(connection, request);
        with(|host| host.elasticsearch = Some(answer));
        response
    }
}

pub(crate) mod blob {
    use std::cell::RefCell;

    use super::{Error, with};

    pub(crate) struct Reader(RefCell<std::vec::IntoIter<u8>>);

    impl Reader {
        pub(crate) fn read(&self, max: u32) -> Result<Vec<u8>, Error> {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            Ok(self.0.borrow_mut().by_ref().take(max).collect())
        }
    }

    pub(crate) struct Writer {
        name: String,
        bytes: RefCell<Vec<u8>>,
    }

    impl Writer {
        pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
            self.bytes.borrow_mut().extend_from_slice(bytes);
            Ok(())
        }

        pub(crate) fn finish(&self) -> Result<(), Error> {
            with(|host| host.blobs.insert(self.name.clone(), self.bytes.take()));
            Ok(())
        }
    }

    pub(crate) fn open(name: &str) -> Result<Reader, Error> {
        let bytes = with(|host| host.blobs.get(name).cloned());
        let bytes = bytes.ok_or_else(|| Error::Denied(format!("no blob of that name: {name}")))?;
        Ok(Reader(RefCell::new(bytes.into_iter())))
    }

    pub(crate) fn create(name: &str) -> Result<Writer, Error> {
        Ok(Writer {
            name: name.to_owned(),
            bytes: RefCell::default(),
        })
    }
}

pub(crate) mod progress {
    use super::{Progress, with};

    pub(crate) fn report(done: u64, total: Option<u64>, note: &str) -> bool {
        with(|host| {
            host.progress.push(Progress {
                done,
                total,
                note: note.to_owned(),
            });
            !host.cancelled
        })
    }
}
