//! What the verdicts on one alert cost to look at. Nothing interrupts the check of an answer, and a few numbers of one may
//! stand for long texts, so that its bytes bound neither what is taken of it nor how long that takes. Counted alert by
//! alert, so that the outcome does not depend on where slices begin and end (I10). Knows no verdict.

use crate::pace::MOST_ALERTS;

/// Verdicts on an alert that are looked at.
const LOOKED_AT_PER_ALERT: usize = 256;
/// All values of these that name groups, in bytes.
const KEY_BYTES_PER_ALERT: usize = 128 << 10;
/// All their branches and columns.
const INDEXES_PER_ALERT: usize = 64 << 10;

const _: () = assert!(
    KEY_BYTES_PER_ALERT * MOST_ALERTS <= 64 << 20,
    "what is taken of an answer is no more than an answer may have"
);

/// Of one alert, whether the verdicts count or not.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    verdicts: usize,
    key_bytes: usize,
    indexes: usize,
}

impl Spent {
    /// Counts a verdict whose group is named by so many bytes; answers why it is not looked at.
    pub(crate) fn over(&mut self, key_bytes: usize, indexes: usize) -> Option<String> {
        self.verdicts = self.verdicts.saturating_add(1);
        if self.verdicts > LOOKED_AT_PER_ALERT {
            return Some(format!(
                "more verdicts on the alert than are looked at: {LOOKED_AT_PER_ALERT}"
            ));
        }
        let (key_bytes, indexes) = (self.key_bytes + key_bytes, self.indexes + indexes);
        if key_bytes > KEY_BYTES_PER_ALERT {
            return Some(format!(
                "the values that name the groups of the alert are together longer than the limit of {KEY_BYTES_PER_ALERT} bytes"
            ));
        }
        if indexes > INDEXES_PER_ALERT {
            return Some(format!(
                "all verdicts on the alert together name more branches and columns than the limit of {INDEXES_PER_ALERT}"
            ));
        }
        (self.key_bytes, self.indexes) = (key_bytes, indexes);
        None
    }
}
