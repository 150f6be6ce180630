//! The journal under everything that a disk and a crash do to it.

mod damage;
mod faults;
mod forged;
mod groups;
#[cfg(feature = "simulation")]
mod marks;
mod roundtrip;
mod torn;

use std::path::{Path, PathBuf};

use donjon_core::{EventId, TenantId, Timestamp};

use super::*;

/// 2025-06-15, noon.
const NOON: u64 = 1_749_988_800_000;
const DAY_MS: u64 = 86_400_000;

/// Small blocks, so that few entries make many.
fn small() -> JournalOptions {
    JournalOptions {
        block_raw_bytes: 400,
        block_entries: 5,
        ..JournalOptions::default()
    }
}

fn entry(n: u64) -> NewEntry {
    at(n, NOON + n)
}

fn at(n: u64, accepted: u64) -> NewEntry {
    NewEntry {
        accepted: Timestamp(accepted),
        tenant: TenantId::from("default"),
        body: EntryBody::Alert {
            event_id: EventId::from(format!("event-{n}")),
            provider: "prometheus".to_owned(),
            api_key_name: "key".to_owned(),
            document: format!(
                r#"{{"name":"alert {n}","noise":"{:x}"}}"#,
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            )
            .into_bytes(),
            id_generated: n.is_multiple_of(2),
        },
    }
}

fn entries(range: std::ops::Range<u64>) -> Vec<NewEntry> {
    range.map(entry).collect()
}

/// Opens, appends, syncs, closes.
fn write(dir: &Path, options: JournalOptions, entries: &[NewEntry]) {
    let (mut journal, _) = Journal::open(dir, options).unwrap();
    journal.append(entries).unwrap();
    journal.sync().unwrap();
}

fn read_all(reader: &JournalReader) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let from = all.last().map_or(donjon_core::Seq(0), |entry| entry.seq.next());
        let more = reader.read_from(from, 7, 1 << 20).unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// The events in the journal, by the number they were made with.
fn numbers(entries: &[Entry]) -> Vec<u64> {
    let number = |entry: &Entry| match &entry.body {
        EntryBody::Alert { event_id, .. } => event_id.as_str().strip_prefix("event-").unwrap().parse().unwrap(),
        other => panic!("not an alert: {other:?}"),
    };
    entries.iter().map(number).collect()
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    files.sort_unstable();
    files
}

/// Copies the segment files of a journal.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in segment_files(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}
