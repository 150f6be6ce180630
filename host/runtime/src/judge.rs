//! The failure policy of a slice: what a failed call asks for (`CallError::reaction`) until the alerts that break the
//! plugin are alone. They go on without the plugin's contribution (I6). Bounded in failed calls, and for a plugin that
//! may be missed in time, so that one that always fails cannot hold the worker. Knows neither components nor what a call
//! answers.

use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::errors::{CallError, Reaction};
use crate::limits::Limits;

/// How long failures of a plugin are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until every alert to blame is found: what alerts wait for is never given up for being slow.
    Long,
    /// Until the first second is spent.
    Short,
}

/// What became of a slice.
#[derive(Debug)]
pub(crate) struct Judged<A> {
    /// Answers, each with the position of its first alert, in the order of the batch.
    pub(crate) answers: Vec<(usize, A)>,
    /// Alerts without an answer, and why, in the order of the batch.
    pub(crate) failed: Vec<(usize, String)>,
    pub(crate) trouble: Trouble,
}

/// What a slice says about the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Whether a limit ended the search for the alerts to blame.
    pub(crate) gave_up: bool,
    /// Whether circumstances were to blame for any failure, and not the alerts.
    pub(crate) may_pass: bool,
    /// Whether only the next copy was missing: it is being made.
    pub(crate) is_starting: bool,
    /// Time spent on failed calls.
    pub(crate) time: Duration,
    /// The time that it asked to be left alone for.
    pub(crate) after: Option<Duration>,
}

pub(crate) async fn judge<C: JudgeCall>(
    calls: &mut C,
    alerts: usize,
    limits: &Limits,
    patience: Patience,
) -> Judged<C::Answer> {
    let mut judged = Judged {
        answers: Vec::new(),
        failed: Vec::new(),
        trouble: Trouble::default(),
    };
    let mut failed_calls = 0_u32;
    let mut last: Option<String> = None;
    let mut retried = false;
    // A stack with the earliest range on top: answers and their writes come in the order of the batch.
    let mut open: Vec<Range<usize>> = (alerts > 0).then_some(0..alerts).into_iter().collect();
    while let Some(range) = open.pop() {
        if let Some(last) = last.as_deref().filter(|_| judged.trouble.gave_up) {
            judged.failed.extend(range.map(|alert| (alert, last.to_owned())));
            continue;
        }
        let begun = Instant::now();
        let error = match calls.call(range.clone()).await {
            Ok(answer) => {
                judged.answers.push((range.start, answer));
                continue;
            }
            Err(error) => error,
        };
        failed_calls = failed_calls.saturating_add(1);
        let trouble = &mut judged.trouble;
        trouble.time = trouble.time.saturating_add(begun.elapsed());
        trouble.after = trouble.after.max(error.after());
        trouble.may_pass |= error.may_pass();
        trouble.is_starting = matches!(error, CallError::NoInstance { .. } | CallError::StillMade { .. });
        let reaction = match error.reaction() {
            Reaction::AgainThenHalves if range.len() < alerts || retried => Reaction::Halves,
            reaction => reaction,
        };
        match reaction {
            Reaction::FailAll => {
                trouble.gave_up = true;
                last = Some(error.to_string());
                judged.failed.extend(range.map(|alert| (alert, error.to_string())));
                continue;
            }
            Reaction::AgainThenHalves => {
                retried = true;
                open.push(range);
            }
            Reaction::Halves | Reaction::Quarters if range.len() == 1 => {
                judged.failed.push((range.start, error.to_string()));
            }
            Reaction::Halves => open.extend(parts(&range, 2)),
            Reaction::Quarters => open.extend(parts(&range, 4)),
        }
        let is_late = patience == Patience::Short && trouble.time >= limits.failure_time_per_slice;
        trouble.gave_up = is_late || failed_calls >= limits.failed_calls_per_slice;
        last = Some(format!("gave up on the batch after: {error}"));
    }
    judged
}

/// Up to so many parts of a range, the last one first.
fn parts(range: &Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let (start, len) = (range.start, range.len());
    let border = move |part: usize| start + len * part / count;
    let parts = (0..count).rev().map(move |part| border(part)..border(part + 1));
    parts.filter(|part| !part.is_empty())
}

/// How much a plugin has tried the patience of the host over its slices, and the pauses that follow. Time spent on failures
/// is forgiven slowly, so that one that hangs now and then, on single alerts, is left alone as well.
#[derive(Default)]
pub(crate) struct Strikes {
    /// Slices given up in a row.
    in_a_row: u32,
    /// Time spent on failures that is not forgiven yet.
    debt: Duration,
    counted: Option<Instant>,
    pause: Duration,
    until: Option<Instant>,
}

/// So many times longer than the failures took they are held against the plugin.
const FORGIVEN_IN: u32 = 20;

impl Strikes {
    /// Whether the plugin is left alone at this time.
    pub(crate) fn is_pausing(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Counts a slice that was tried.
    pub(crate) fn count(&mut self, trouble: &Trouble, now: Instant, limits: &Limits, patience: Patience) {
        let since = self
            .counted
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.counted = Some(now);
        self.debt = self.debt.saturating_sub(since / FORGIVEN_IN) + trouble.time;
        self.in_a_row = match (trouble.gave_up, trouble.is_starting) {
            (true, true) => self.in_a_row,
            (true, false) => self.in_a_row.saturating_add(1),
            (false, _) => 0,
        };
        let is_over = self
            .until
            .is_none_or(|until| now.saturating_duration_since(until) > limits.back_off_longest);
        if is_over && !trouble.gave_up {
            self.pause = Duration::ZERO;
        }
        let is_slow = patience == Patience::Short && self.debt >= limits.failure_time_per_slice;
        if is_slow || self.in_a_row >= limits.strikes {
            let longer = self.pause.saturating_mul(2).max(limits.back_off_first);
            self.pause = longer.min(limits.back_off_longest);
            self.until = Some(now + self.pause);
            self.debt = Duration::ZERO;
        } else if let Some(after) = trouble.after {
            self.until = Some(now + after.min(limits.back_off_longest));
        }
    }
}

/// Calls a plugin for the alerts of a range.
pub(crate) trait JudgeCall {
    type Answer;

    fn call(&mut self, range: Range<usize>) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
