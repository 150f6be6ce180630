//! The capabilities as the generated bindings have them, answered by the host of the tests.
//!
//! The shape must stay that of the bindings: `host/` calls one or the other without knowing which.

use super::{Progress, with};
use crate::types::Error;

pub(crate) mod log {
    use super::with;
    use crate::capability::Level;

    pub(crate) fn log(level: Level, message: &str) {
        with(|host| host.lines.push((level, message.to_owned())));
    }
}

pub(crate) mod config {
    use super::with;

    pub(crate) fn get(path: &str) -> Option<String> {
        with(|host| host.config.get(path).cloned())
    }
}

pub(crate) use super::kv;

pub(crate) mod topology {
    use super::{Error, with};
    use crate::capability::{Application, Dependency};

    pub(crate) fn version() -> Result<u64, Error> {
        Ok(with(|host| host.topology.version))
    }

    pub(crate) fn service(name: &str) -> Result<Option<String>, Error> {
        Ok(with(|host| host.topology.services.get(name).cloned()))
    }

    pub(crate) fn dependencies() -> Result<Vec<Dependency>, Error> {
        Ok(with(|host| host.topology.dependencies.clone()))
    }

    pub(crate) fn applications() -> Result<Vec<Application>, Error> {
        Ok(with(|host| host.topology.applications.clone()))
    }
}

pub(crate) mod history {
    use super::{Error, with};

    pub(crate) fn recent(fingerprint: &str, before_seq: u64, limit: u32) -> Result<Vec<Vec<u8>>, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(with(|host| {
            let events = host.history.get(fingerprint).into_iter().flatten();
            let before = events.filter(|(seq, _)| *seq < before_seq);
            before.take(limit).map(|(_, document)| document.clone()).collect()
        }))
    }
}

pub(crate) mod elasticsearch {
    use super::{Error, with};
    use crate::capability::{Request, Response};

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
