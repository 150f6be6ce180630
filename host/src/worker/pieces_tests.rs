//! What a batch holds before it is committed stays bounded, and where it is cut changes nothing.

use std::sync::{Arc, Mutex};

use donjon_core::batch::{Batch, Findings, RuleReport, RuleSpec, Verdict, Wants};
use donjon_core::command::Command;
use donjon_core::state::StateView;
use donjon_core::{RuleId, TenantId, Timestamp};
use donjon_runtime::{
    CallError, Configured, CorrelateOutcome, Description, EnrichOutcome, PluginCalls, PluginCounters, PluginSet,
    Policy, Role,
};
use donjon_store::journal::EntryBody;
use donjon_store::{NewEntry, State, StateReader};

use super::super::tests::{alert, replay_by, tenant};
use super::*;

/// Groups that the plugin puts each alert into.
const GROUPS: usize = 64;

/// A correlator that finds a group of its own for each alert, under each of its policies, and notes how many alerts were
/// committed and how many it was asked about.
struct Finder {
    description: Description,
    state: StateReader,
    calls: Arc<Mutex<Vec<(u64, usize)>>>,
}

fn policy(at: usize) -> RuleId {
    RuleId::from(format!("p{at}"))
}

impl PluginCalls for Finder {
    fn name(&self) -> &str {
        "finder"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn hash(&self) -> &str {
        "1"
    }
    fn role(&self) -> Role {
        Role::Correlator
    }
    fn description(&self) -> &Description {
        &self.description
    }
    fn configured(&self, _: &TenantId) -> Option<Configured> {
        None
    }
    fn configure(&self, _: &TenantId, _: u64, _: &[RuleSpec]) -> Result<Configured, CallError> {
        unreachable!("it takes no rules")
    }
    fn prepare(&self, _: &TenantId, _: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        unreachable!("it takes no rules")
    }
    fn slice_alerts(&self) -> usize {
        50
    }
    fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        let committed = self.state.tenant(&tenant()).unwrap().offered;
        self.calls.lock().unwrap().push((committed, batch.len()));
        let verdict = |(at, group): (usize, usize)| Verdict {
            alert: at,
            rule: policy(group),
            group_key: vec![batch.keys[at].1.as_str().to_owned()],
            branches: vec![0],
            read: Vec::new(),
        };
        let pairs = (0..batch.len()).flat_map(|at| (0..GROUPS).map(move |group| (at, group)));
        CorrelateOutcome {
            findings: Findings {
                verdicts: pairs.map(verdict).collect(),
                failures: Vec::new(),
            },
            ..CorrelateOutcome::default()
        }
    }
    fn enrich(&self, _: Batch) -> EnrichOutcome {
        unreachable!("no enricher")
    }
    fn add_dropped(&self, _: &'static str, _: u64) {}
    fn counters(&self) -> PluginCounters {
        PluginCounters::default()
    }
}

/// Applies entries in batches of at most so many; answers the state, and what the plugin noted.
fn found(entries: &[NewEntry], state: State, batch: usize) -> (Arc<State>, Vec<(u64, usize)>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let policies = (0..GROUPS).map(|at| Policy {
        id: policy(at),
        settings: String::new(),
    });
    let finder = Finder {
        description: Description {
            name: "finder".to_owned(),
            version: "1".to_owned(),
            about: String::new(),
            wants: Wants::Fields(Vec::new()),
            stateless: true,
            takes_rules: false,
            policies: policies.collect(),
        },
        state: state.reader().clone(),
        calls: Arc::clone(&calls),
    };
    let state = replay_by(entries, state, batch, PluginSet::default().with(Arc::new(finder)));
    let calls = calls.lock().unwrap().clone();
    (state, calls)
}

/// Most alerts that were settled between two commits, as the plugin saw it.
fn most_in_a_commit(state: &State, calls: &[(u64, usize)]) -> u64 {
    let end = state.reader().tenant(&tenant()).unwrap().offered;
    let mut committed: Vec<u64> = calls.iter().map(|(committed, _)| *committed).chain([end]).collect();
    committed.dedup();
    let steps = committed.windows(2).map(|pair| pair[1] - pair[0]);
    steps.max().unwrap_or_default()
}

#[test]
fn a_batch_of_which_plugins_find_too_much_is_applied_in_pieces_and_gives_the_same_bytes() {
    let entries: Vec<NewEntry> = (0..400).map(|at| alert(&format!("f{at:03}"))).collect();
    let (together, calls) = found(&entries, State::in_memory(), 2048);
    let most = most_in_a_commit(&together, &calls);
    let fit = (MAX_FOUND_BYTES / (GROUPS * VERDICT_BYTES)) as u64;
    assert!(
        (fit / 2..=fit).contains(&most),
        "{most} alerts in one commit, {calls:?}"
    );
    let (alone, _) = found(&entries, State::in_memory(), 1);
    assert_eq!(together.reader().applied().unwrap(), Seq(400));
    assert!(together.reader().dump().unwrap() == alone.reader().dump().unwrap());
}

#[test]
fn judging_again_a_range_that_an_older_version_wrote_is_done_in_bounded_steps() {
    let mut entries: Vec<NewEntry> = (0..300).map(|at| alert(&format!("f{at:03}"))).collect();
    let state = replay_by(&entries, State::in_memory(), 2048, PluginSet::default());
    let offered = state.reader().tenant(&tenant()).unwrap().offered;
    entries.push(NewEntry {
        accepted: Timestamp(1_000_000),
        tenant: tenant(),
        body: EntryBody::Command {
            guard: donjon_core::command::Guard::default(),
            actor: "a".to_owned(),
            command: Command::Rejudge {
                from: Seq(1),
                to: Seq(10_000),
                all: false,
            },
        },
    });
    let (state, calls) = found(&entries, Arc::try_unwrap(state).ok().unwrap(), 2048);
    assert_eq!(state.reader().applied().unwrap(), Seq(301));
    let after = state.reader().tenant(&tenant()).unwrap();
    assert_eq!(after.offered, offered + 300, "each alert once");
    assert_eq!(after.last_running_number, 300 * GROUPS as u64);
    let most = most_in_a_commit(&state, &calls);
    assert_eq!(most, 128, "{calls:?}");
}

#[test]
fn a_piece_is_always_smaller_than_what_was_too_much_and_never_empty() {
    let load = |entries, judged, bytes| Load { bytes, judged, entries };
    assert_eq!(load(2048, 2048, MAX_FOUND_BYTES).fewer_entries(), None);
    assert_eq!(load(2048, 2048, MAX_FOUND_BYTES * 16).fewer_entries(), Some(128));
    assert_eq!(load(2048, 512, MAX_FOUND_BYTES + 1).fewer_entries(), Some(511));
    assert_eq!(load(2048, 2048, MAX_FOUND_BYTES + 1).fewer_entries(), Some(1024));
    assert_eq!(load(2048, 0, MAX_FOUND_BYTES * 4).fewer_entries(), Some(512));
    assert_eq!(load(3, 1, MAX_FOUND_BYTES * 100).fewer_entries(), Some(1));
    assert_eq!(load(1, 1, MAX_FOUND_BYTES * 100).fewer_entries(), None);
}
