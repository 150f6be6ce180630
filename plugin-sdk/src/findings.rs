//! The answer of a correlator, built verdict by verdict and kept as the flat lists that cross the border.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::batch::{Alert, Batch, Column, TextId};
use crate::wire::{self, RuleFailure};

/// Marks a text of our own among the keys until the number of texts of the batch is known. A batch never has so many: the
/// ends of its texts alone would fill the memory of a component.
const OWN: u32 = 1 << 31;

/// The handle of a policy of this plugin, by its place in the answer of `policies`.
pub const fn policy(place: u32) -> u32 {
    FIRST_POLICY.saturating_add(place)
}

/// The handle of the first policy; handles of rules are below.
const FIRST_POLICY: u32 = 1 << 31;

/// The answer to a batch. A verdict says that one alert belongs to one group of one rule or policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    lists: wire::Findings,
    /// The ids of our own texts, so that each crosses the border once.
    own: HashMap<String, u32>,
}

/// A value that names a group, or one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupValue<'a> {
    /// A text of the batch.
    OfBatch(TextId),
    /// Any other text.
    Own(Cow<'a, str>),
}

impl<'a> From<&'a str> for GroupValue<'a> {
    fn from(text: &'a str) -> Self {
        GroupValue::Own(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for GroupValue<'a> {
    fn from(text: &'a String) -> Self {
        GroupValue::Own(Cow::Borrowed(text))
    }
}

impl From<String> for GroupValue<'_> {
    fn from(text: String) -> Self {
        GroupValue::Own(Cow::Owned(text))
    }
}

impl From<TextId> for GroupValue<'_> {
    fn from(id: TextId) -> Self {
        GroupValue::OfBatch(id)
    }
}

impl Findings {
    /// Nothing found yet.
    pub fn new() -> Self {
        Findings::default()
    }

    /// An alert belongs to a rule, by the handle that came with it, or to a policy, by [`policy`]. What the verdict says
    /// further is added to the answer of this call.
    pub fn verdict<'a>(&'a mut self, alert: &Alert<'a>, rule: u32) -> NewVerdict<'a> {
        let lists = &mut self.lists;
        lists.alerts.push(alert.index());
        lists.rules.push(rule);
        lists.key_ends.push(length(&lists.keys));
        lists.branch_ends.push(length(&lists.branches));
        lists.read_ends.push(length(&lists.read));
        NewVerdict {
            findings: self,
            batch: alert.batch(),
        }
    }

    /// A rule could not be evaluated for an alert. At most one a rule and alert.
    pub fn failure(&mut self, alert: &Alert<'_>, rule: u32, message: impl Into<String>) {
        self.push_failure(RuleFailure {
            alert: alert.index(),
            rule,
            message: message.into(),
        });
    }

    /// Add a verdict as [`Findings::verdicts`] gives it; for a plugin around another one.
    pub fn push(&mut self, verdict: Verdict) {
        for value in verdict.group {
            let id = self.own_text(Cow::Owned(value));
            self.lists.keys.push(id);
        }
        let lists = &mut self.lists;
        lists.alerts.push(verdict.alert);
        lists.rules.push(verdict.rule);
        lists.branches.extend(verdict.branches);
        lists.read.extend(verdict.read);
        lists.key_ends.push(length(&lists.keys));
        lists.branch_ends.push(length(&lists.branches));
        lists.read_ends.push(length(&lists.read));
    }

    /// Add a failure as [`Findings::failures`] gives it.
    pub fn push_failure(&mut self, failure: RuleFailure) {
        self.lists.failures.push(failure);
    }

    /// The number of verdicts.
    pub fn len(&self) -> usize {
        self.lists.alerts.len()
    }

    /// Whether there is neither a verdict nor a failure.
    pub fn is_empty(&self) -> bool {
        self.lists.alerts.is_empty() && self.lists.failures.is_empty()
    }

    /// The failures.
    pub fn failures(&self) -> &[RuleFailure] {
        &self.lists.failures
    }

    /// The verdicts, for tests and for a plugin around another one. `batch` is the one that was judged.
    pub fn verdicts(&self, batch: &Batch) -> Vec<Verdict> {
        let lists = &self.lists;
        let verdict = |(place, (alert, rule)): (usize, (&u32, &u32))| Verdict {
            alert: *alert,
            rule: *rule,
            group: part(&lists.key_ends, &lists.keys, place)
                .iter()
                .map(|id| self.text(batch, *id).to_owned())
                .collect(),
            branches: part(&lists.branch_ends, &lists.branches, place).to_vec(),
            read: part(&lists.read_ends, &lists.read, place).to_vec(),
        };
        lists.alerts.iter().zip(&lists.rules).enumerate().map(verdict).collect()
    }

    /// The lists as they cross the border.
    #[doc(hidden)]
    pub fn into_wire(mut self, batch: &Batch) -> wire::Findings {
        let first_own = u32::try_from(batch.text_count()).unwrap_or(u32::MAX);
        for id in self.lists.keys.iter_mut().filter(|id| **id >= OWN) {
            *id = (*id - OWN).saturating_add(first_own);
        }
        self.lists
    }

    /// Lists as they are to cross the border, sound or not: for guests that try the host.
    #[doc(hidden)]
    pub fn from_wire(lists: wire::Findings) -> Self {
        Findings {
            lists,
            own: HashMap::new(),
        }
    }

    fn text<'a>(&'a self, batch: &'a Batch, id: u32) -> &'a str {
        let own = || {
            let place = usize::try_from(id - OWN).ok()?;
            let ends = &self.lists.own_text_ends;
            let end = usize::try_from(*ends.get(place)?).ok()?;
            let start = place.checked_sub(1).and_then(|before| ends.get(before));
            let start = usize::try_from(start.copied().unwrap_or(0)).ok()?;
            std::str::from_utf8(self.lists.own_texts.get(start..end)?).ok()
        };
        let text = if id >= OWN { own() } else { batch.text(TextId(id)) };
        text.unwrap_or_default()
    }

    /// The id of a text of our own.
    fn own_text(&mut self, text: Cow<'_, str>) -> u32 {
        if let Some(id) = self.own.get(text.as_ref()) {
            return *id;
        }
        let lists = &mut self.lists;
        let id = OWN.saturating_add(length(&lists.own_text_ends));
        lists.own_texts.extend_from_slice(text.as_bytes());
        lists.own_text_ends.push(length(&lists.own_texts));
        self.own.insert(text.into_owned(), id);
        id
    }
}

/// The part of a list that belongs to a verdict.
fn part<'a>(ends: &[u32], list: &'a [u32], place: usize) -> &'a [u32] {
    let start = place.checked_sub(1).and_then(|before| ends.get(before));
    let range = || {
        let start = usize::try_from(start.copied().unwrap_or(0)).ok()?;
        list.get(start..usize::try_from(*ends.get(place)?).ok()?)
    };
    range().unwrap_or_default()
}

/// A list of a component never has more than 2^32 entries: its memory ends there.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// A verdict that can still be added to. Without a group all alerts of the rule are one.
pub struct NewVerdict<'a> {
    findings: &'a mut Findings,
    batch: &'a Batch,
}

impl NewVerdict<'_> {
    /// The values that name the group, in the order of `group_by`.
    pub fn group<'v, V: Into<GroupValue<'v>>>(self, values: impl IntoIterator<Item = V>) -> Self {
        for value in values {
            let id = match value.into() {
                GroupValue::OfBatch(id) => id.0,
                GroupValue::Own(text) => self.findings.own_text(text),
            };
            self.findings.lists.keys.push(id);
        }
        let lists = &mut self.findings.lists;
        end_here(&mut lists.key_ends, &lists.keys);
        self
    }

    /// The branches that matched, as places among those of the rule or policy.
    pub fn branches(self, branches: impl IntoIterator<Item = u32>) -> Self {
        let lists = &mut self.findings.lists;
        lists.branches.extend(branches);
        end_here(&mut lists.branch_ends, &lists.branches);
        self
    }

    /// The paths of the values that led to it, for the explanation that people see. Those that the batch has no column
    /// for are left out.
    pub fn reading<'p>(self, paths: impl IntoIterator<Item = &'p str>) -> Self {
        let batch = self.batch;
        self.reading_at(paths.into_iter().filter_map(|path| batch.column(path)))
    }

    /// As [`NewVerdict::reading`], by column.
    pub fn reading_at(self, columns: impl IntoIterator<Item = Column>) -> Self {
        let lists = &mut self.findings.lists;
        let places = columns
            .into_iter()
            .filter_map(|column| u32::try_from(column.place()).ok());
        lists.read.extend(places);
        end_here(&mut lists.read_ends, &lists.read);
        self
    }
}

/// Lets the last piece of a list end at its present end.
fn end_here(ends: &mut [u32], list: &[u32]) {
    if let Some(last) = ends.last_mut() {
        *last = length(list);
    }
}

/// A verdict that was given, with its texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The place of the alert in the batch.
    pub alert: u32,
    /// The handle of a rule or policy.
    pub rule: u32,
    /// The values that name the group.
    pub group: Vec<String>,
    /// The branches that matched.
    pub branches: Vec<u32>,
    /// The places of the columns that were read.
    pub read: Vec<u32>,
}
