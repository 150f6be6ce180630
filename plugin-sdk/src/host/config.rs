//! The configuration of this plugin, as its entry in the host's configuration has it. Always granted.

use super::backend;

/// The value at a dotted path as JSON text, or none.
pub fn get(path: &str) -> Option<String> {
    backend::config::get(path)
}
