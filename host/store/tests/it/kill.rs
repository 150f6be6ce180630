//! A process killed in the middle of its work loses nothing that it acknowledged (I1) and leaves derived state as it was
//! after some commit (I2).
//!
//! The test starts itself as a child, which appends, syncs, says so, and applies; the parent kills it at some moment,
//! opens what is left, and starts the next one on it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use donjon_core::Seq;
use donjon_store::journal::JournalOptions;
use donjon_store::{DataDir, Journal, Reopened, State, StateOptions};

use crate::samples;

const CHILD_DIR: &str = "DONJON_STORE_KILL_TEST_DIR";

fn options() -> JournalOptions {
    JournalOptions {
        block_entries: 7,
        segment_bytes: 20_000,
        ..JournalOptions::default()
    }
}

/// Works until killed: appends a few entries, says how far the journal is, applies them, flushes now and then.
fn work(dir: &Path) {
    let data = DataDir::open(dir).unwrap();
    let (mut journal, _) = Journal::open(data.journal(), options()).unwrap();
    let (state, _) = State::open(data.state(), StateOptions::default()).unwrap();
    let replay = state.reader().applied().unwrap().0 + 1..journal.next_seq().0;
    replay.for_each(|n| state.commit(&samples::write_set(n)).map(drop).unwrap());
    for round in 0u64.. {
        let first = journal.next_seq().0;
        let new: Vec<_> = (first..first + 1 + round % 30).map(samples::entry).collect();
        let seqs = journal.append(&new).unwrap();
        journal.sync().unwrap();
        println!("acknowledged {}", seqs.end());
        std::io::stdout().flush().unwrap();
        (seqs.start().0..=seqs.end().0).for_each(|n| state.commit(&samples::write_set(n)).map(drop).unwrap());
        if round % 5 == 0 {
            state.flush().unwrap();
        }
    }
}

/// Starts a child, kills it after it has acknowledged something and `pause` has passed, and gives the last position
/// that it acknowledged.
fn run_and_kill(dir: &Path, pause: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kill::a_killed_process_loses_nothing_it_acknowledged",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let (started, has_started) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The first line may follow a word of the test harness.
            if let Some(n) = line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse().ok()) {
                last = n;
                let _ = started.send(());
            }
        }
        last
    });
    has_started.recv_timeout(Duration::from_secs(60)).unwrap();
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return work(Path::new(&dir));
    }
    let temp = tempfile::tempdir().unwrap();
    for round in 0..8u64 {
        let acknowledged = run_and_kill(temp.path(), Duration::from_millis(round * round * 7));
        let data = DataDir::open(temp.path()).unwrap();
        let (journal, report) = Journal::open(data.journal(), options()).unwrap();
        let last = report.last_seq.0;
        assert!(
            last >= acknowledged,
            "round {round}: acknowledged {acknowledged}, found {last}"
        );
        assert!(report.damage.is_empty(), "round {round}: {report:?}");
        let found = journal.reader().read_from(Seq(1), usize::MAX, usize::MAX).unwrap();
        for (n, entry) in (1u64..).zip(&found) {
            assert_eq!(
                (entry.seq, &entry.body),
                (Seq(n), &samples::entry(n).body),
                "round {round}"
            );
        }
        assert!(found.len() as u64 >= acknowledged);

        let (state, how) = State::open(data.state(), StateOptions::default()).unwrap();
        assert!(
            matches!(how, Reopened::Existing | Reopened::Fresh),
            "round {round}: {how:?}"
        );
        let applied = state.reader().applied().unwrap().0;
        assert!(applied <= last, "round {round}: applied {applied} of {last}");
        let expected = State::in_memory();
        (1..=applied).for_each(|n| expected.commit(&samples::write_set(n)).map(drop).unwrap());
        let (found, expected) = (state.reader().dump().unwrap(), expected.reader().dump().unwrap());
        assert!(
            found == expected,
            "round {round}: state is not that after entry {applied}"
        );
    }
}
