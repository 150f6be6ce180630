//! Data directories as earlier versions wrote them, opened for ever.
//!
//! `tests/fixtures/store-vN` was written by the tests below with `DONJON_WRITE_FIXTURE=vN`; it is not written again. A
//! change that makes these tests fail makes the data of users unreadable.

use std::fs;
use std::path::{Path, PathBuf};

use donjon_core::batch::KvUsage;
use donjon_core::state::{StateView, TenantState, WriteSet};
use donjon_core::{RuleId, Seq};
use donjon_store::journal::JournalOptions;
use donjon_store::{Checkpoints, DataDir, Entry, Journal, NewEntry, Reopened, State, StateOptions};

use crate::{samples, samples_v2};

const ENTRIES: u64 = 40;
const APPLIED: u64 = 30;

/// What is in a fixture.
struct Version {
    name: &'static str,
    entry: fn(u64) -> NewEntry,
    write_set: fn(u64) -> WriteSet,
    counters: fn(u64) -> TenantState,
    /// The outbox up to there was numbered: it is forgotten, and clients are told so.
    numbered_outbox: Seq,
}

const VERSION_1: Version = Version {
    name: "v1",
    entry: samples::entry,
    write_set: samples::write_set,
    counters: samples::counters,
    numbered_outbox: Seq(APPLIED),
};

const VERSION_2: Version = Version {
    name: "v2",
    entry: samples_v2::entry,
    write_set: samples_v2::write_set,
    counters: samples_v2::counters,
    numbered_outbox: Seq(0),
};

impl Version {
    fn fixture(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/store-{}", self.name))
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_dir(&path, &to),
            false => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

fn write_fixture(version: &Version) {
    let dir = version.fixture();
    let dir = dir.as_path();
    let data = DataDir::open(dir).unwrap();
    let options = JournalOptions {
        block_entries: 7,
        segment_bytes: 1500,
        ..JournalOptions::default()
    };
    let (mut journal, _) = Journal::open(data.journal(), options).unwrap();
    for n in 1..=ENTRIES {
        journal.append(&[(version.entry)(n)]).unwrap();
    }
    journal.sync().unwrap();
    let (state, _) = State::open(data.state(), StateOptions::default()).unwrap();
    for n in 1..=APPLIED {
        state.commit(&(version.write_set)(n)).unwrap();
    }
    state.flush().unwrap();
    let mut checkpoints = Checkpoints::open(data.checkpoints()).unwrap();
    checkpoints.take(&state, || Ok(())).unwrap();
    drop(data);
    fs::remove_file(dir.join("LOCK")).unwrap();
}

#[test]
fn a_data_directory_of_version_1_opens_with_everything_in_it() {
    opens_with_everything_in_it(&VERSION_1);
}

#[test]
fn a_data_directory_of_version_2_opens_with_everything_in_it() {
    opens_with_everything_in_it(&VERSION_2);
}

fn opens_with_everything_in_it(version: &Version) {
    if std::env::var("DONJON_WRITE_FIXTURE").is_ok_and(|name| name == version.name) {
        write_fixture(version);
    }
    let temp = tempfile::tempdir().unwrap();
    copy_dir(&version.fixture(), temp.path());
    let data = DataDir::open(temp.path()).unwrap();
    check_journal(version, &data);
    let (state, how) = State::open(data.state(), StateOptions::default()).unwrap();
    assert_eq!(how, Reopened::Existing);
    assert_eq!(state.forgotten_plugin_values(), 5);
    check_state(version, &state);
    let restored = State::in_memory();
    let told = Checkpoints::open(data.checkpoints())
        .unwrap()
        .restore(&restored, Seq(0), |_| ())
        .unwrap();
    assert_eq!((told.applied, told.damaged.len()), (Some(Seq(APPLIED)), 0));
    check_state(version, &restored);
}

fn check_journal(version: &Version, data: &DataDir) {
    let (mut journal, report) = Journal::open(data.journal(), JournalOptions::default()).unwrap();
    assert_eq!(
        (report.last_seq, report.torn, report.damage),
        (Seq(ENTRIES), None, Vec::new())
    );
    assert!(report.segments > 1);
    let expected: Vec<Entry> = (1..=ENTRIES)
        .map(|n| {
            let new = (version.entry)(n);
            Entry {
                seq: Seq(n),
                accepted: new.accepted,
                tenant: new.tenant,
                body: new.body,
            }
        })
        .collect();
    let reader = journal.reader();
    assert_eq!(reader.read_from(Seq(0), 1000, usize::MAX).unwrap(), expected);
    assert_eq!(reader.get(Seq(17)).unwrap().as_ref(), expected.get(16));
    assert_eq!(reader.damage().0, 0);
    journal.append(&[(version.entry)(ENTRIES + 1)]).unwrap();
    journal.sync().unwrap();
    assert_eq!(reader.last_seq(), Seq(ENTRIES + 1));
}

fn check_state(version: &Version, state: &State) {
    let reader = state.reader();
    let tenant = samples::tenant();
    assert_eq!(reader.applied().unwrap(), Seq(APPLIED));
    assert_eq!(reader.tenants().unwrap(), std::slice::from_ref(&tenant));
    let newest = APPLIED - 6..=APPLIED;
    for n in newest {
        let fingerprint = samples::fingerprint(n % 7);
        assert_eq!(reader.alert(&tenant, &fingerprint).unwrap(), Some(samples::alert(n)));
        assert_eq!(
            reader.history_chunk(&tenant, &fingerprint, 0).unwrap(),
            Some(samples::history(n))
        );
    }
    let rule = RuleId::from("rule");
    for n in 1..=APPLIED {
        let (id, incident, link) = (samples::incident_id(n), samples::incident(n), samples::link(n));
        assert_eq!(
            reader.group_head(&tenant, &rule, &incident.group_key).unwrap(),
            Some(id)
        );
        assert_eq!(reader.incident(&tenant, id).unwrap(), Some(incident));
        assert_eq!(reader.links(&tenant, id).unwrap(), std::slice::from_ref(&link));
        let linked = reader
            .incidents_of_alert(&tenant, &link.fingerprint, 100)
            .unwrap()
            .contains(&id);
        assert_eq!(linked, link.unlinked.is_none(), "incident {n}");
        let version = u32::try_from(n).unwrap();
        assert_eq!(
            reader.rule_version(&tenant, &rule, version).unwrap(),
            Some(samples::rule(version))
        );
    }
    assert_eq!(
        reader.rules(&tenant).unwrap(),
        [samples::rule(u32::try_from(APPLIED).unwrap())]
    );
    assert_eq!(reader.rule_stats(&tenant, &rule).unwrap(), samples::stats(APPLIED));
    assert_eq!(reader.tenant(&tenant).unwrap(), (version.counters)(APPLIED));
    check_remembered(version, state);
    let page = reader.outbox_after(&tenant, Seq(0), 100).unwrap();
    let records = usize::from(version.numbered_outbox == Seq(0));
    assert_eq!((page.records.len(), page.forgotten), (records, version.numbered_outbox));
    assert!(!reader.dump().unwrap().iter().any(|(key, _)| key.starts_with(b"o")));
    let letters: Vec<_> = (APPLIED - 4..=APPLIED)
        .rev()
        .map(|n| (Seq(n), samples::dead_letter(n)))
        .collect();
    assert_eq!(reader.dead_letters(&tenant, 0, 100).unwrap(), letters);
    check_plugin_data(state);
    state.commit(&(version.write_set)(APPLIED + 1)).unwrap();
    state.flush().unwrap();
    let page = reader.outbox_after(&tenant, Seq(APPLIED), 100).unwrap();
    assert_eq!((page.records.len(), page.forgotten), (1, version.numbered_outbox));
}

/// Both versions kept it for all tenants together: it belongs to none and is gone, and what is written from now on stays.
fn check_plugin_data(state: &State) {
    let (reader, space) = (state.reader(), samples::plugin_space());
    assert!(!reader.dump().unwrap().iter().any(|(key, _)| key.starts_with(b"k")));
    assert_eq!(reader.plugin_kv_usage(&space).unwrap(), KvUsage::default());
    state.commit(&samples::write_set(APPLIED)).unwrap();
    let key = format!("k{}", APPLIED % 9);
    let found = reader.plugin_kv_get(&space, &key).unwrap();
    assert_eq!(found, Some(samples::plugin_value(APPLIED)));
    assert_eq!(reader.plugin_kv_usage(&space).unwrap(), KvUsage { keys: 1, bytes: 5 });
}

fn check_remembered(version: &Version, state: &State) {
    let (reader, tenant) = (state.reader(), samples::tenant());
    let counters = (version.counters)(APPLIED);
    for number in 0..APPLIED + 1 {
        let expected = samples_v2::remembered(number);
        let is_known = (counters.keys_forgotten.max(1)..counters.keys_used).contains(&number);
        let digest = reader.remembered_key(&tenant, number).unwrap();
        assert_eq!(digest, is_known.then_some(expected.key.key), "key {number}");
        let found = reader.remembered_command(&tenant, &expected.key.key).unwrap();
        assert_eq!(found, is_known.then_some(expected), "key {number}");
    }
}
