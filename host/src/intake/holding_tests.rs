//! What senders and probes see of a journal that is slow, broken or dead, and what a request holds meanwhile.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::super::super::{Holding, answer_within};
use super::*;
use crate::telemetry::Kind;

/// An intake over a held disk.
struct Started {
    _dir: tempfile::TempDir,
    intake: Intake,
    groups: Receiver<Vec<Accepted>>,
    asked: mpsc::Receiver<()>,
    leave: Sender<io::Result<()>>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    runtime: tokio::runtime::Runtime,
}

fn started() -> Started {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().join("data")).unwrap();
    let (journal, asked, leave) = held_journal(&data_dir);
    let (progress, metrics) = (Arc::new(Progress::default()), Arc::new(Metrics::default()));
    let shared = (Arc::clone(&progress), Arc::clone(&metrics));
    let (intake, groups, _thread) =
        Intake::start(journal, options(data_dir), Clock::manual(), shared.0, shared.1).unwrap();
    Started {
        _dir: dir,
        intake,
        groups,
        asked,
        leave,
        progress,
        metrics,
        runtime: runtime(),
    }
}

impl Started {
    fn accept(&self, text: &str) -> impl Future<Output = Result<(), Refused>> + use<> {
        let (intake, items) = (self.intake.clone(), vec![letter(text)]);
        async move { intake.accept(TenantId::from("t"), items, false).await.map(drop) }
    }

    fn counted(&self, kind: &'static str) -> u64 {
        self.metrics.ingest_items.get_or_create(&Kind { kind }).get()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says whether it was given back, and what waited to be applied at that moment.
#[derive(Default)]
struct Watched {
    progress: Arc<Progress>,
    waiting: std::sync::Mutex<Option<u64>>,
}

impl Holding for Watched {
    fn release(&self) {
        *self.waiting.lock().unwrap() = Some(self.progress.waiting_bytes());
    }
}

#[test]
fn what_a_request_holds_stays_counted_until_it_waits_to_be_applied_even_if_its_sender_left() {
    let started = started();
    let held = Arc::new(Watched {
        progress: Arc::clone(&started.progress),
        ..Watched::default()
    });
    let _entered = started.runtime.enter();
    let holding: Arc<dyn Holding> = Arc::clone(&held) as _;
    let items = vec![letter("a"), letter("b")];
    let intake = started.intake.clone();
    let mut asking = Box::pin(intake.accept_holding(TenantId::from("t"), items, false, Some(holding)));
    let polled = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    drop(asking);
    started.asked.recv_timeout(PATIENCE).unwrap();
    std::thread::sleep(A_WHILE);
    assert_eq!(
        *held.waiting.lock().unwrap(),
        None,
        "given back before the journal has it"
    );
    assert_eq!(Arc::strong_count(&held), 2, "its request holds it");
    started.leave.send(Ok(())).unwrap();
    assert_eq!(started.groups.recv_timeout(PATIENCE).unwrap().len(), 2);
    let waiting = held.waiting.lock().unwrap().unwrap();
    assert!(waiting > 0, "it counts as waiting before it is given back");
    assert_eq!(started.counted("invalid"), 2, "counted although the sender left");
    started.intake.stop();
}

#[test]
fn a_journal_that_broke_is_shown_to_probes_and_every_refusal_is_counted() {
    let started = started();
    let first = started.accept("first");
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| runtime().block_on(first));
        started.asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!(started.progress.journal_broke(), None);
        started.leave.send(Err(io::Error::other("injected"))).unwrap();
        answer.join().unwrap()
    });
    assert!(matches!(answer, Err(Refused::Broken(_))), "{answer:?}");
    until("probes see it", || started.progress.journal_broke().is_some());
    let why = started.progress.journal_broke().unwrap();
    assert!(why.contains("injected") && why.contains("restart donjon"), "{why}");
    let again = started.runtime.block_on(started.accept("second"));
    assert!(matches!(again, Err(Refused::Broken(_))), "{again:?}");
    assert_eq!(started.counted("refused"), 2);
    started.intake.stop();
}

#[test]
fn a_sync_that_hangs_is_shown_to_probes_while_it_does() {
    let started = started();
    let _entered = started.runtime.enter();
    let mut asking = Box::pin(started.accept("first"));
    let polled = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    started.asked.recv_timeout(PATIENCE).unwrap();
    until("it is under way", || {
        started.progress.journal_works_for() > Duration::from_millis(50)
    });
    started.leave.send(Ok(())).unwrap();
    until("it is over", || {
        started.progress.journal_works_for() < Duration::from_millis(50)
    });
    started.intake.stop();
}

#[test]
fn nobody_waits_without_end_for_the_journal() {
    let runtime = runtime();
    let (reply, answer) = oneshot::channel();
    let hanging = runtime.block_on(answer_within(Duration::from_millis(10), answer));
    assert!(matches!(hanging, Err(Refused::NotKnown(_))), "{hanging:?}");
    let told = hanging.unwrap_err().to_string();
    assert!(
        told.contains("it may still be") && told.contains("does not answer"),
        "{told}"
    );
    drop(reply);
    let (reply, answer) = oneshot::channel();
    drop(reply);
    let gone = runtime.block_on(answer_within(PATIENCE, answer));
    assert!(matches!(gone, Err(Refused::NotKnown(_))), "{gone:?}");
}

#[test]
fn a_panic_of_the_journals_thread_is_told_and_ends_the_worker() {
    let started = started();
    // The disk panics when nobody is left to give it leave.
    drop(started.leave);
    let asking = {
        let (intake, items) = (started.intake.clone(), vec![letter("first")]);
        async move { intake.accept(TenantId::from("t"), items, false).await.map(drop) }
    };
    let answer = started.runtime.block_on(asking);
    assert!(matches!(answer, Err(Refused::NotKnown(_))), "{answer:?}");
    let ended = started.groups.recv_timeout(PATIENCE);
    assert!(
        matches!(ended, Err(RecvTimeoutError::Disconnected)),
        "the worker sees the end: {}",
        ended.is_ok()
    );
    until("probes see it", || started.progress.journal_broke().is_some());
}
