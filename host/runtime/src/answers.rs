//! Answers of plugins to a batch, checked before anybody believes them: positions, lengths, counts and depths. What is
//! over a limit is refused and told to the alert it concerns; the rest of the answer counts. What names no alert of the
//! batch can be told to none: it is counted. Looks only at one alert's part of an answer at a time, so that the outcome
//! does not depend on where slices begin and end (I10).

use std::collections::BTreeMap;

use donjon_core::RuleId;
use donjon_core::batch::{Change, Findings, Patch, RuleFailure, Verdict, piece, range};
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, MAX_GROUP_PATHS, MAX_PATH_KEYS, MAX_VALUE_DEPTH};
use donjon_core::text::one_line;

use crate::bindings::correlator::exports::donjon::plugin::correlation as wit_correlation;
use crate::bindings::enricher::exports::donjon::plugin::enrichment as wit_enrichment;
use crate::convert::WitBatch;
use crate::given_rules::{FIRST_POLICY_HANDLE, GivenRules};
use crate::limits::Limits;
use crate::spent::Spent;

/// What an answer is about, for checking it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) batch: &'a WitBatch,
    /// Those that it was given.
    pub(crate) rules: &'a GivenRules,
    /// Its own, by the identifiers that nobody else's rule can have.
    pub(crate) policies: &'a [RuleId],
    pub(crate) limits: &'a Limits,
}

impl Asked<'_> {
    fn alerts(&self) -> usize {
        self.batch.seqs.len()
    }

    fn columns(&self) -> usize {
        self.batch.columns.len()
    }

    /// The rule or policy behind a handle, if it is its to speak of.
    fn rule(&self, handle: u32) -> Option<&RuleId> {
        match handle.checked_sub(FIRST_POLICY_HANDLE) {
            None => self.rules.id(handle),
            Some(place) => self.policies.get(usize::try_from(place).ok()?),
        }
    }
}

/// Lists of an answer do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("there is not one entry a verdict in each list")]
    Lengths,
    #[error("where entries end is not ascending, or beyond the end of their list")]
    Ends,
    #[error("the id of a text is beyond the texts of the batch and its own")]
    TextId,
    #[error("a text is not UTF-8")]
    Utf8,
    #[error("this version knows nothing of what is in `more`")]
    More,
}

/// The part of an answer that is within the limits, and what became of the rest.
#[derive(Debug, Default)]
pub(crate) struct Checked<T> {
    pub(crate) said: T,
    /// Alerts for which something was refused, and what, in the order of the batch.
    pub(crate) refused: Vec<(usize, String)>,
    /// Parts that were refused, those that name no alert of the batch included.
    pub(crate) dropped: u64,
    /// Parts about a rule or policy that is not its own.
    pub(crate) foreign: u64,
}

/// What is refused, by alert: the first reason, and how many more there are.
#[derive(Default)]
struct Refusals {
    by_alert: BTreeMap<usize, (String, u64)>,
    dropped: u64,
    foreign: u64,
}

impl Refusals {
    fn note(&mut self, alert: usize, reason: impl FnOnce() -> String) {
        self.dropped = self.dropped.saturating_add(1);
        let entry = self.by_alert.entry(alert).or_insert_with(|| (reason(), 0));
        entry.1 = entry.1.saturating_add(1);
    }

    fn note_homeless(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    fn with<T>(self, said: T) -> Checked<T> {
        let text = |(reason, count): (String, u64)| match count {
            1 => reason,
            more => format!("{reason} (parts of the answer refused: {more})"),
        };
        let refused = self.by_alert.into_iter().map(|(alert, why)| (alert, text(why)));
        Checked {
            said,
            refused: refused.collect(),
            dropped: self.dropped,
            foreign: self.foreign,
        }
    }
}

/// The verdicts of each alert, as chains through the list of all: no allocation an alert.
struct Chains {
    newest: Vec<usize>,
    count: Vec<usize>,
    before: Vec<usize>,
}

const NONE: usize = usize::MAX;

impl Chains {
    fn new(alerts: usize) -> Chains {
        Chains {
            newest: vec![NONE; alerts],
            count: vec![0; alerts],
            before: Vec::new(),
        }
    }

    fn count(&self, alert: usize) -> usize {
        self.count.get(alert).copied().unwrap_or(0)
    }

    /// The place in the list of a verdict of the alert that is like this one.
    fn find(&self, alert: usize, mut is_same: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut at = self.newest.get(alert).copied().unwrap_or(NONE);
        while at != NONE {
            if is_same(at) {
                return Some(at);
            }
            at = self.before.get(at).copied().unwrap_or(NONE);
        }
        None
    }

    /// The next verdict of the list is one of this alert.
    fn push(&mut self, alert: usize) {
        let at = self.before.len();
        if let (Some(newest), Some(count)) = (self.newest.get_mut(alert), self.count.get_mut(alert)) {
            self.before.push(std::mem::replace(newest, at));
            *count += 1;
        }
    }
}

/// # Errors
/// Its lists do not fit together: then nothing of it counts.
pub(crate) fn findings(said: wit_correlation::Findings, asked: &Asked<'_>) -> Result<Checked<Findings>, Misfit> {
    if !said.more.is_empty() {
        return Err(Misfit::More);
    }
    let mut refusals = Refusals::default();
    let verdicts = verdicts(&said, asked, &mut refusals)?;
    let (mut failures, limits) = (Vec::new(), asked.limits);
    let mut counts = vec![0_usize; asked.alerts()];
    for failure in said.failures {
        let Some((alert, count)) = place(&mut counts, failure.alert) else {
            refusals.note_homeless();
            continue;
        };
        let Some(rule) = asked.rule(failure.rule) else {
            refusals.foreign = refusals.foreign.saturating_add(1);
            continue;
        };
        if *count >= limits.rule_failures_per_alert {
            let limit = limits.rule_failures_per_alert;
            refusals.note(alert, || {
                format!("more rules failed on the alert than are kept: {limit}")
            });
        } else {
            *count += 1;
            failures.push(RuleFailure {
                alert,
                rule: rule.clone(),
                message: one_line(&failure.message, MAX_ERROR_TEXT_BYTES),
            });
        }
    }
    Ok(refusals.with(Findings { verdicts, failures }))
}

/// The flat lists of verdicts, one verdict at a time.
struct Flat<'a> {
    said: &'a wit_correlation::Findings,
    batch: &'a WitBatch,
}

/// A verdict as it lies in the lists.
struct Said<'a> {
    rule: u32,
    key: &'a [u32],
    branches: &'a [u32],
    read: &'a [u32],
}

impl<'a> Flat<'a> {
    fn new(said: &'a wit_correlation::Findings, batch: &'a WitBatch) -> Result<Flat<'a>, Misfit> {
        let lengths = [
            said.rules.len(),
            said.key_ends.len(),
            said.branch_ends.len(),
            said.read_ends.len(),
        ];
        match lengths.iter().all(|len| *len == said.alerts.len()) {
            true => Ok(Flat { said, batch }),
            false => Err(Misfit::Lengths),
        }
    }

    fn verdict(&self, at: usize) -> Result<Said<'a>, Misfit> {
        let part =
            |list: &'a [u32], ends: &[u32]| range(ends, at).and_then(|range| list.get(range)).ok_or(Misfit::Ends);
        let said = self.said;
        Ok(Said {
            rule: *said.rules.get(at).ok_or(Misfit::Lengths)?,
            key: part(&said.keys, &said.key_ends)?,
            branches: part(&said.branches, &said.branch_ends)?,
            read: part(&said.read, &said.read_ends)?,
        })
    }

    /// A text of the batch, or of its own.
    fn text(&self, id: u32) -> Result<&'a str, Misfit> {
        let id = usize::try_from(id).map_err(|_| Misfit::TextId)?;
        let of_batch = self.batch.text_ends.len();
        let text = match id.checked_sub(of_batch) {
            None => piece(&self.batch.texts, &self.batch.text_ends, id),
            Some(own) => piece(&self.said.own_texts, &self.said.own_text_ends, own),
        };
        std::str::from_utf8(text.ok_or(Misfit::TextId)?).map_err(|_| Misfit::Utf8)
    }
}

fn verdicts(
    said: &wit_correlation::Findings,
    asked: &Asked<'_>,
    refusals: &mut Refusals,
) -> Result<Vec<Verdict>, Misfit> {
    let (flat, limits) = (Flat::new(said, asked.batch)?, asked.limits);
    let mut taken = Taken {
        verdicts: Vec::with_capacity(said.alerts.len().min(asked.alerts())),
        chains: Chains::new(asked.alerts()),
    };
    let mut spent = vec![Spent::default(); asked.alerts()];
    for (at, alert) in said.alerts.iter().enumerate() {
        let verdict = flat.verdict(at)?;
        let Some(alert) = position(*alert, asked.alerts()) else {
            refusals.note_homeless();
            continue;
        };
        let Some(rule) = asked.rule(verdict.rule) else {
            refusals.foreign = refusals.foreign.saturating_add(1);
            continue;
        };
        if let Some(reason) = misfit(&verdict, asked.columns(), limits) {
            refusals.note(alert, || reason);
            continue;
        }
        let key = verdict.key.iter().map(|id| flat.text(*id));
        let key = key.collect::<Result<Vec<&str>, Misfit>>()?;
        let long = key.iter().find(|value| value.len() > limits.group_value_bytes);
        let key_bytes = match long {
            Some(_) => 0,
            None => key.iter().map(|value| value.len()).sum(),
        };
        let indexes = verdict.branches.len() + verdict.read.len();
        if let Some(reason) = spent.get_mut(alert).and_then(|spent| spent.over(key_bytes, indexes)) {
            refusals.note(alert, || reason);
            continue;
        }
        match long {
            Some(long) => refusals.note(alert, || {
                too_long("a value that names a group", limits.group_value_bytes, long.len())
            }),
            None => taken.add(alert, rule, &key, &verdict, limits, refusals),
        }
    }
    Ok(taken.verdicts)
}

/// The verdicts that count so far.
struct Taken {
    verdicts: Vec<Verdict>,
    chains: Chains,
}

impl Taken {
    /// The same verdict again adds branches and columns; a new one counts if the alert has room for it.
    fn add(
        &mut self,
        alert: usize,
        rule: &RuleId,
        key: &[&str],
        said: &Said<'_>,
        limits: &Limits,
        refusals: &mut Refusals,
    ) {
        let is_same = |at: usize| {
            let known = self.verdicts.get(at);
            known.is_some_and(|known| known.rule == *rule && known.group_key.iter().eq(key.iter()))
        };
        match self.chains.find(alert, is_same) {
            Some(at) => {
                if let Some(known) = self.verdicts.get_mut(at) {
                    known.branches.extend(said.branches);
                    known.read.extend(said.read);
                    tidy(known);
                }
            }
            None if self.chains.count(alert) >= limits.verdicts_per_alert => {
                let limit = limits.verdicts_per_alert;
                refusals.note(alert, || {
                    format!("more verdicts on the alert than the first that count: {limit}")
                });
            }
            None => {
                self.chains.push(alert);
                let mut verdict = Verdict {
                    alert,
                    rule: rule.clone(),
                    group_key: key.iter().map(|value| (*value).to_owned()).collect(),
                    branches: said.branches.to_vec(),
                    read: said.read.to_vec(),
                };
                tidy(&mut verdict);
                self.verdicts.push(verdict);
            }
        }
    }
}

/// The same verdict twice is one, and so is a branch or a column named twice.
fn tidy(verdict: &mut Verdict) {
    for indexes in [&mut verdict.branches, &mut verdict.read] {
        if !indexes.is_sorted_by(|a, b| a < b) {
            indexes.sort_unstable();
            indexes.dedup();
        }
    }
}

/// Why a verdict is not taken.
fn misfit(said: &Said<'_>, columns: usize, limits: &Limits) -> Option<String> {
    if said.key.len() > MAX_GROUP_PATHS {
        let found = said.key.len();
        return Some(format!(
            "a group is named by more than {MAX_GROUP_PATHS} values: {found}"
        ));
    }
    let (branches, read) = (said.branches.len(), said.read.len());
    if branches.max(read) > limits.indexes_per_verdict {
        let limit = limits.indexes_per_verdict;
        return Some(format!(
            "a verdict names more than {limit} branches or columns: {}",
            branches.max(read)
        ));
    }
    let strange = said.read.iter().find(|column| position(**column, columns).is_none())?;
    Some(format!(
        "a verdict has read a column that is not among the {columns}: {strange}"
    ))
}

fn too_long(what: &str, limit: usize, found: usize) -> String {
    format!("{what} is longer than the limit of {limit} bytes: {found}")
}

pub(crate) fn patches(said: Vec<wit_enrichment::Patch>, alerts: usize, limits: &Limits) -> Checked<Vec<Patch>> {
    let mut refusals = Refusals::default();
    let mut patches: Vec<Patch> = Vec::new();
    let mut counts = vec![0_usize; alerts];
    for patch in said {
        let Some((alert, count)) = place(&mut counts, patch.alert) else {
            refusals.note_homeless();
            continue;
        };
        let mut changes = Vec::new();
        for change in patch.changes {
            if *count >= limits.changes_per_alert {
                let limit = limits.changes_per_alert;
                refusals.note(alert, || {
                    format!("more changes to the alert than the first that count: {limit}")
                });
                continue;
            }
            match change_of(change, limits) {
                Ok(change) => {
                    *count += 1;
                    changes.push(change);
                }
                Err(reason) => refusals.note(alert, || reason),
            }
        }
        if !changes.is_empty() {
            patches.push(Patch { alert, changes });
        }
    }
    refusals.with(patches)
}

/// A change whose path and value are shallow enough for everything that walks them by recursion, or why not.
fn change_of(said: wit_enrichment::Change, limits: &Limits) -> Result<Change, String> {
    let change = match said {
        wit_enrichment::Change::Set(setting) => Change::Set {
            path: setting.path,
            json: setting.json,
        },
        wit_enrichment::Change::Remove(path) => Change::Remove { path },
        wit_enrichment::Change::Other((name, _)) => {
            let name = one_line(&name, MAX_ERROR_TEXT_BYTES);
            return Err(format!("this version knows no such change: {name}"));
        }
    };
    let (Change::Set { path, .. } | Change::Remove { path }) = &change;
    if path.len() > limits.path_bytes {
        return Err(too_long("the path of a change", limits.path_bytes, path.len()));
    }
    // One key more than there are dots; escaped ones are counted too, which only refuses earlier.
    let keys = path.bytes().filter(|byte| *byte == b'.').count() + 1;
    if keys > MAX_PATH_KEYS {
        return Err(format!(
            "the path of a change has more than {MAX_PATH_KEYS} keys: {keys}"
        ));
    }
    if let Change::Set { json, .. } = &change {
        if json.len() > limits.text_bytes {
            return Err(too_long("the value of a change", limits.text_bytes, json.len()));
        }
        if is_deeper_than(json, MAX_VALUE_DEPTH) {
            return Err(format!(
                "the value of a change is nested deeper than {MAX_VALUE_DEPTH} levels"
            ));
        }
    }
    Ok(change)
}

/// Whether JSON text is nested deeper, found without recursion. Text that is no JSON may be anything: the parser says so.
fn is_deeper_than(json: &str, limit: usize) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// An index of the contract as a position, if there is something at it.
fn position(index: u32, len: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|position| *position < len)
}

/// The position that an index names, and what is counted there.
fn place(counts: &mut [usize], index: u32) -> Option<(usize, &mut usize)> {
    let position = position(index, counts.len())?;
    counts.get_mut(position).map(|count| (position, count))
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
