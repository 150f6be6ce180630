//! The failure policy of a batch: once more on a fresh instance, then by halves until the alerts that break the plugin
//! are alone. They go on without the plugin's contribution (I6). Bounded in failed calls and in time, so that a plugin
//! that always fails cannot hold the worker. Knows neither components nor what a call answers.

use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::errors::CallError;
use crate::limits::Limits;

/// Calls a plugin for the alerts of a range.
pub(crate) trait JudgeCall {
    type Answer;

    fn call(&mut self, range: Range<usize>) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Judged<A> {
    /// Answers, each with the position of its first alert, in the order of the batch.
    pub(crate) answers: Vec<(usize, A)>,
    /// Alerts without an answer, and why.
    pub(crate) failed: Vec<(usize, String)>,
    /// Whether a limit ended the search for the alerts to blame.
    pub(crate) gave_up: bool,
}

pub(crate) async fn judge<C: JudgeCall>(calls: &mut C, alerts: usize, limits: &Limits) -> Judged<C::Answer> {
    let mut judged = Judged {
        answers: Vec::new(),
        failed: Vec::new(),
        gave_up: false,
    };
    let mut spending = Spending::default();
    let mut retried = false;
    // A stack with the earliest range on top: answers and their writes come in the order of the batch.
    let mut open: Vec<Range<usize>> = (alerts > 0).then_some(0..alerts).into_iter().collect();
    while let Some(range) = open.pop() {
        if let Some(last) = spending.exhausted(limits) {
            judged.gave_up = true;
            judged
                .failed
                .extend(range.map(|alert| (alert, format!("gave up on the batch after: {last}"))));
            continue;
        }
        let begun = Instant::now();
        match calls.call(range.clone()).await {
            Ok(answer) => judged.answers.push((range.start, answer)),
            Err(error) => {
                spending.add(begun.elapsed(), &error);
                let is_retry = range.len() == alerts && !retried && !error.spares_instance();
                if is_retry {
                    retried = true;
                    open.push(range);
                } else if range.len() == 1 {
                    judged.failed.push((range.start, error.to_string()));
                } else {
                    let middle = range.start + range.len() / 2;
                    open.push(middle..range.end);
                    open.push(range.start..middle);
                }
            }
        }
    }
    judged
}

/// What failed calls have cost.
#[derive(Default)]
struct Spending {
    calls: u32,
    time: Duration,
    last: Option<String>,
}

impl Spending {
    fn add(&mut self, time: Duration, error: &CallError) {
        self.calls = self.calls.saturating_add(1);
        self.time = self.time.saturating_add(time);
        self.last = Some(error.to_string());
    }

    /// The last error, once a limit is reached.
    fn exhausted(&self, limits: &Limits) -> Option<&str> {
        let over = self.calls >= limits.failed_calls_per_batch || self.time >= limits.failure_time_per_batch;
        self.last.as_deref().filter(|_| over)
    }
}

/// Batches given up in a row, and the pauses that follow.
#[derive(Default)]
pub(crate) struct Strikes {
    in_a_row: u32,
    pause: Duration,
    until: Option<Instant>,
}

impl Strikes {
    /// Whether the plugin is left alone at this time.
    pub(crate) fn is_pausing(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Counts a batch that was tried.
    pub(crate) fn count(&mut self, gave_up: bool, now: Instant, limits: &Limits) {
        if !gave_up {
            *self = Strikes::default();
            return;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= limits.strikes {
            let longer = self.pause.saturating_mul(2).max(limits.back_off_first);
            self.pause = longer.min(limits.back_off_longest);
            self.until = Some(now + self.pause);
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
