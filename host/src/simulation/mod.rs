//! The simulation: the real journal, intake, worker and state over a disk that fails, in one thread, from one seed.
//!
//! A run throws dice for everything: what is sent, who has the next turn, where batches end, when a call to the disk
//! fails, when the process dies or the power goes, when plugins stall, trap and lie, when the clock jumps. After it, what was
//! acknowledged must be there, derived state must be that of an undisturbed run over the same journal byte for byte, no
//! limit may be passed and nothing may be silent (`oracle.rs`). A failing seed is printed; `make simulate SEED=n`
//! plays it again. Three deliberate bugs below the code under test prove that it can fail.
//!
//! Not in it: HTTP, wasm, threads, sled's own files, reads of the disk that fail, bits that rot.

mod dice;
mod follower;
mod ledger;
mod mischief;
mod odd;
mod oracle;
mod retries;
mod run;
mod scripts;
mod server;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use donjon_store::simulation::Sabotage;
use run::{Coverage, Failure};

/// Runs of `make test`.
const SEEDS: u64 = 1000;
/// Runs in which a deliberate bug must be found.
const SEEDS_FOR_A_BUG: u64 = 200;
/// Steps that are printed of a failing run.
const SHOWN_STEPS: usize = 60;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number, found: {text}")),
    )
}

/// Plays a seed; a panic of the code under test is a failure like any other.
fn play(seed: u64, sabotage: Option<Sabotage>) -> Result<Coverage, Box<Failure>> {
    // Only timers of those who wait need it; nothing is run on it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    catch_unwind(AssertUnwindSafe(|| run::play(seed, sabotage))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Box::new(Failure {
            what: format!("panic: {}", text.unwrap_or_default()),
            steps: Vec::new(),
        }))
    })
}

fn told(seed: u64, failure: &Failure) -> String {
    let shown = if number("SEED").is_some() {
        usize::MAX
    } else {
        SHOWN_STEPS
    };
    let skipped = failure.steps.len().saturating_sub(shown);
    let steps = failure.steps[skipped..].join("\n  ");
    format!(
        "seed {seed}: {}\nsteps, each with the calls to the disk so far:\n  {steps}\nplay it again with: make simulate SEED={seed}",
        failure.what
    )
}

/// Plays seeds on all processors until one fails or all are played.
fn play_all(seeds: std::ops::Range<u64>, sabotage: Option<Sabotage>) -> Result<Vec<Coverage>, (u64, Box<Failure>)> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new((Vec::new(), None)));
    let work = || {
        while found.lock().unwrap().1.is_none() {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if !seeds.contains(&seed) {
                return;
            }
            match play(seed, sabotage) {
                Ok(coverage) => found.lock().unwrap().0.push(coverage),
                Err(failure) => {
                    found.lock().unwrap().1.get_or_insert((seed, failure));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (coverages, failure) = found.into_inner().unwrap();
    failure.map_or(Ok(coverages), Err)
}

#[test]
fn whatever_goes_wrong_nothing_acknowledged_is_lost_and_a_replay_gives_the_same_bytes() {
    if let Some(seed) = number("SEED") {
        match play(seed, None) {
            Ok(coverage) => println!("seed {seed}: {coverage:?}"),
            Err(failure) => panic!("{}", told(seed, &failure)),
        }
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let coverages = match play_all(0..seeds, None) {
        Ok(coverages) => coverages,
        Err((seed, failure)) => panic!("{}", told(seed, &failure)),
    };
    let sum = |of: fn(&Coverage) -> u64| coverages.iter().map(of).sum::<u64>();
    println!(
        "{seeds} seeds: {} steps, {} entries, {} lives, {} faults met, {} requests refused, {} waited for, {} reloads, \
         {} retries, {} checkpoints, {} entries freed, {} pairs compared, {} writes out of order, {} groups cut, {} times days kept, {} freed after they were judged again",
        sum(|coverage| coverage.steps),
        sum(|coverage| coverage.entries),
        sum(|coverage| coverage.lives),
        sum(|coverage| coverage.faults),
        sum(|coverage| coverage.refused),
        sum(|coverage| coverage.told),
        sum(|coverage| coverage.reloads),
        sum(|coverage| coverage.retries),
        sum(|coverage| coverage.checkpoints),
        sum(|coverage| coverage.freed),
        sum(|coverage| coverage.pairs),
        sum(|coverage| coverage.reordered),
        sum(|coverage| coverage.cut_groups),
        sum(|coverage| coverage.days_kept),
        sum(|coverage| coverage.rejudged_then_freed),
    );
    // A simulation in which nothing happens proves nothing.
    if seeds >= SEEDS {
        assert!(sum(|coverage| coverage.lives) > 2 * seeds && sum(|coverage| coverage.faults) > seeds);
        assert!(sum(|coverage| coverage.freed) > 0 && sum(|coverage| coverage.checkpoints) > seeds / 2);
        assert!(
            sum(|coverage| coverage.dropped) > 0,
            "what plugins say of foreign rules is counted"
        );
        assert!(sum(|coverage| coverage.reordered) > seeds / 10 && sum(|coverage| coverage.cut_groups) > seeds / 50);
        assert!(sum(|coverage| coverage.retries) > seeds / 2, "commands are sent again");
        assert!(sum(|coverage| coverage.days_kept) > 0 && sum(|coverage| coverage.rejudged_then_freed) > 0);
        assert!(sum(|coverage| coverage.refused) > 0 && sum(|coverage| coverage.told) > seeds);
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..5 {
        let once = play(seed, None).map_err(|failure| told(seed, &failure)).unwrap();
        let again = play(seed, None).map_err(|failure| told(seed, &failure)).unwrap();
        assert_eq!(once, again, "seed {seed}");
    }
}

/// Plays seeds until the bug shows, and answers what was said.
fn found(sabotage: Sabotage) -> String {
    match play_all(0..SEEDS_FOR_A_BUG, Some(sabotage)) {
        Ok(_) => panic!("{sabotage:?} was not found in {SEEDS_FOR_A_BUG} seeds"),
        Err((seed, failure)) => {
            println!("{sabotage:?}: seed {seed}: {}", failure.what);
            failure.what
        }
    }
}

#[test]
fn an_fsync_left_out_is_found() {
    let what = found(Sabotage::FsyncLeftOut);
    assert!(
        [
            "is not any more",
            "was acknowledged",
            "taken for damage",
            "journal is damaged"
        ]
        .iter()
        .any(|told| what.contains(told)),
        "{what}"
    );
}

#[test]
fn a_cursor_one_too_far_is_found() {
    let what = found(Sabotage::CursorTooFar);
    assert!(what.contains("not that of an undisturbed run"), "{what}");
}

#[test]
fn an_outbox_record_lost_is_found() {
    let what = found(Sabotage::OutboxRecordLost);
    assert!(
        what.contains("not that of an undisturbed run") || what.contains("never told"),
        "{what}"
    );
}
