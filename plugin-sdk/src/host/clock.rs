//! Time as the batch sees it. Always granted.

use super::backend;
use crate::Timestamp;

/// The acceptance time of the newest alert of the batch: the same answer when the batch is run again.
pub fn now_ms() -> Timestamp {
    backend::clock::now()
}
