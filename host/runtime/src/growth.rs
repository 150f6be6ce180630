//! When a copy that calls made larger is worth making again. A copy never gives memory back, so what one large alert took
//! stays with it; but most growth is what its calls need (the automata of patterns, which are built as texts come), and a new
//! copy would only be slower until it has grown again. So a copy is made again where the next one showed that it can do
//! with less. Knows neither copies nor clocks.

/// A new copy that grows again within so many calls needs what it grew to; after each new copy twice as many.
const FIRST_LESSON_CALLS: u64 = 32;

/// What the copies of one set of rules have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Calls since the copy was made.
    calls: u64,
    /// Growth within so many calls is need; 0 until a copy was made again.
    lesson_calls: u64,
    /// Bytes that calls are known to need.
    needed: usize,
}

impl Growth {
    /// After a call: whether to make the copy again. It has so many bytes, had so many before its first call, and grows by
    /// `slack` without being asked.
    pub(crate) fn is_worth_replacing(&mut self, bytes: usize, at_rest: usize, slack: usize) -> bool {
        self.calls = self.calls.saturating_add(1);
        if bytes <= at_rest.max(self.needed).saturating_add(slack) {
            return false;
        }
        if self.calls <= self.lesson_calls {
            self.needed = bytes;
            return false;
        }
        self.lesson_calls = self.lesson_calls.saturating_mul(2).max(FIRST_LESSON_CALLS);
        true
    }

    /// The next copy serves.
    pub(crate) fn begin_copy(&mut self) {
        self.calls = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls up to the one after which the copy is made again; it has so many bytes after each.
    fn replaced_after(growth: &mut Growth, calls: u64, bytes: impl Fn(u64) -> usize) -> Option<u64> {
        let at = (1..=calls).find(|call| growth.is_worth_replacing(bytes(*call), 10, 5));
        if at.is_some() {
            growth.begin_copy();
        }
        at
    }

    #[test]
    fn what_one_call_took_is_given_back_each_time() {
        let mut growth = Growth::default();
        let once = |at: u64| move |call: u64| if call < at { 10 } else { 100 };
        assert_eq!(replaced_after(&mut growth, 100, once(1)), Some(1));
        assert_eq!(replaced_after(&mut growth, 100, once(33)), Some(33));
        assert_eq!(replaced_after(&mut growth, 100, once(65)), Some(65));
        assert_eq!(replaced_after(&mut growth, 1_000, |_| 15), None, "within the slack");
    }

    #[test]
    fn what_the_next_copy_needs_again_is_left_to_it() {
        let mut growth = Growth::default();
        let slowly = |call: u64| 10 + usize::try_from(call.min(90)).unwrap();
        assert_eq!(replaced_after(&mut growth, 10_000, slowly), Some(6));
        assert_eq!(replaced_after(&mut growth, 10_000, slowly), Some(36), "still growing");
        assert_eq!(replaced_after(&mut growth, 10_000, slowly), Some(66));
        assert_eq!(replaced_after(&mut growth, 10_000, slowly), None, "known by now");
        assert_eq!(replaced_after(&mut growth, 10_000, |_| 106), Some(1), "more than ever");
    }
}
