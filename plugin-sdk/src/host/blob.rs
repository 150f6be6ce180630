//! Large data in pieces: files that the operator named for a command.

use super::backend;
use crate::types::Error;

/// A stream to read from.
pub struct Reader(backend::blob::Reader);

impl Reader {
    /// At most `max` further bytes; an empty list is the end.
    pub fn read(&self, max: u32) -> Result<Vec<u8>, Error> {
        self.0.read(max)
    }
}

/// A stream to write to. Nothing is visible under the name before [`Writer::finish`].
pub struct Writer(backend::blob::Writer);

impl Writer {
    /// Append bytes.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.0.write(bytes)
    }

    /// Make what was written durable and visible under its name.
    pub fn finish(self) -> Result<(), Error> {
        self.0.finish()
    }
}

/// Open a named blob.
pub fn open(name: &str) -> Result<Reader, Error> {
    backend::blob::open(name).map(Reader)
}

/// Begin a new blob under a name.
pub fn create(name: &str) -> Result<Writer, Error> {
    backend::blob::create(name).map(Writer)
}
