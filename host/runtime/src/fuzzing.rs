//! What the fuzz target `plugin_answer` calls: answers as only a hostile component would give them, made out of bytes, past
//! the copying that wasmtime does. Nothing here is used by the product.

use donjon_core::limits::MAX_PATH_KEYS;

use crate::answers::{Shape, findings, patches};
use crate::bindings::correlator::exports::donjon::plugin::correlation as wit_correlation;
use crate::bindings::enricher::exports::donjon::plugin::enrichment as wit_enrichment;
use crate::limits::Limits;

/// Takes bytes off a stranger's input; an empty one gives zeros.
struct Feed<'a>(&'a [u8]);

impl Feed<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Mostly small, sometimes past everything.
    fn index(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            byte => u32::from(byte % 24),
        }
    }

    fn indexes(&mut self) -> Vec<u32> {
        (0..self.byte() % 8).map(|_| self.index()).collect()
    }

    /// Some bytes as text, repeated up to a length over most limits.
    fn text(&mut self) -> String {
        let (len, times) = (usize::from(self.byte() % 16), self.byte());
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        let times = if times > 250 { 10_000 } else { usize::from(times % 3) };
        String::from_utf8_lossy(taken).repeat(times)
    }

    fn texts(&mut self) -> Vec<String> {
        (0..self.byte() % 20).map(|_| self.text()).collect()
    }
}

/// Answers to a batch of up to eight alerts. What is believed is inside the batch and below every limit; what is not is told.
///
/// # Panics
/// When it is not so: that is what is looked for.
pub fn plugin_answer(data: &[u8]) {
    let mut feed = Feed(data);
    let limits = Limits {
        verdicts_per_alert: 4,
        rule_failures_per_alert: 2,
        changes_per_alert: 3,
        ..Limits::default()
    };
    let shape = Shape {
        alerts: usize::from(feed.byte() % 9),
        columns: usize::from(feed.byte() % 5),
    };
    match feed.byte() % 2 {
        0 => check_findings(&mut feed, shape, &limits),
        _ => check_patches(&mut feed, shape, &limits),
    }
}

fn check_findings(feed: &mut Feed<'_>, shape: Shape, limits: &Limits) {
    let mut said = wit_correlation::Findings {
        verdicts: Vec::new(),
        failures: Vec::new(),
    };
    while !feed.is_empty() {
        let (alert, rule) = (feed.index(), feed.text());
        if feed.byte().is_multiple_of(4) {
            let message = feed.text();
            said.failures
                .push(wit_correlation::RuleFailure { alert, rule, message });
        } else {
            said.verdicts.push(wit_correlation::Verdict {
                alert,
                rule,
                group_key: feed.texts(),
                branches: feed.indexes(),
                read: feed.indexes(),
            });
        }
    }
    let given = said.verdicts.len() + said.failures.len();
    let checked = findings(said, shape, limits);
    let (verdicts, failures) = (&checked.said.verdicts, &checked.said.failures);
    for verdict in verdicts {
        assert!(verdict.alert < shape.alerts && verdict.rule.as_str().len() <= limits.rule_id_bytes);
        assert!(verdict.read.iter().all(|column| (*column as usize) < shape.columns));
        assert!(
            verdict
                .group_key
                .iter()
                .all(|value| value.len() <= limits.group_value_bytes)
        );
    }
    for alert in 0..shape.alerts {
        let of_alert = |at: usize| at == alert;
        assert!(verdicts.iter().filter(|v| of_alert(v.alert)).count() <= limits.verdicts_per_alert);
        assert!(failures.iter().filter(|f| of_alert(f.alert)).count() <= limits.rule_failures_per_alert);
    }
    assert!(verdicts.len() + failures.len() <= given);
    check_told(&checked.refused, checked.dropped, shape);
}

fn check_patches(feed: &mut Feed<'_>, shape: Shape, limits: &Limits) {
    let mut said = Vec::new();
    while !feed.is_empty() {
        let alert = feed.index();
        let change = |feed: &mut Feed<'_>| match feed.byte() % 2 {
            0 => wit_enrichment::Change::Set((feed.text(), feed.text())),
            _ => wit_enrichment::Change::Remove(feed.text()),
        };
        let changes = (0..feed.byte() % 6).map(|_| change(feed)).collect();
        said.push(wit_enrichment::Patch { alert, changes });
    }
    let checked = patches(said, shape, limits);
    for alert in 0..shape.alerts {
        let of_alert = checked.said.iter().filter(|patch| patch.alert == alert);
        assert!(of_alert.map(|patch| patch.changes.len()).sum::<usize>() <= limits.changes_per_alert);
    }
    for change in checked.said.iter().flat_map(|patch| &patch.changes) {
        use donjon_core::batch::Change::{Remove, Set};
        let (Set { path, .. } | Remove { path }) = change;
        assert!(path.len() <= limits.path_bytes && path.matches('.').count() < MAX_PATH_KEYS);
    }
    assert!(checked.said.iter().all(|patch| patch.alert < shape.alerts));
    check_told(&checked.refused, checked.dropped, shape);
}

fn check_told(refused: &[(usize, String)], dropped: u64, shape: Shape) {
    assert!(
        refused
            .iter()
            .all(|(alert, reason)| *alert < shape.alerts && !reason.is_empty())
    );
    assert!(dropped >= refused.len() as u64, "told and not counted");
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_of_the_corpus_are_believed_within_limits_only() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/plugin_answer");
        let mut files = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            super::plugin_answer(&std::fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "no corpus in {dir}");
    }
}
