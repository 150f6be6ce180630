//! Write to the log of the host, under the name of the plugin. Always granted. Floods are counted and dropped.

use super::backend;

pub use crate::capability::Level;

/// Log one line.
pub fn log(level: Level, message: impl AsRef<str>) {
    backend::log::log(level, message.as_ref());
}

/// Log every step.
pub fn trace(message: impl AsRef<str>) {
    log(Level::Trace, message);
}

/// Log for the author of the plugin.
pub fn debug(message: impl AsRef<str>) {
    log(Level::Debug, message);
}

/// Log what is worth knowing.
pub fn info(message: impl AsRef<str>) {
    log(Level::Info, message);
}

/// Log a problem that lost nothing.
pub fn warn(message: impl AsRef<str>) {
    log(Level::Warn, message);
}

/// Log a loss, or something that needs a person.
pub fn error(message: impl AsRef<str>) {
    log(Level::Error, message);
}
