//! Tell the person who waits how far a long command is.

use super::backend;

/// `done` of `total` units, if the total is known, and a short note. Answers false once the person cancelled.
pub fn report(done: u64, total: Option<u64>, note: &str) -> bool {
    backend::progress::report(done, total, note)
}
