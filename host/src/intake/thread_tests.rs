//! What is promised to senders (I1), over a disk that the test holds in its hand: no answer before `sync_data` returned,
//! and a sync that fails is told to everybody who waited for it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use donjon_core::TenantId;
use donjon_core::command::{Command, Guard};
use donjon_store::DataDir;
use donjon_store::journal::files::{DiskFiles, Files, SegmentFile};
use donjon_store::journal::{JournalOptions, RetentionPolicy};
use tokio::sync::oneshot;

use super::super::{Intake, IntakeOptions, Item, Progress, Refused};
use super::*;
use crate::disk_space::DiskSpace;

#[path = "holding_tests.rs"]
mod holding;

/// How long a test waits for what must not come.
const A_WHILE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// Real files; each sync of entries says that it is there and waits for leave.
struct HeldFiles {
    asked: mpsc::Sender<()>,
    leave: crossbeam_channel::Receiver<io::Result<()>>,
}

struct HeldFile {
    file: Box<dyn SegmentFile>,
    /// The first write is the header of the file.
    writes: u32,
    asked: mpsc::Sender<()>,
    leave: crossbeam_channel::Receiver<io::Result<()>>,
}

impl Files for HeldFiles {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(HeldFile {
            file: DiskFiles.create(path)?,
            writes: 0,
            asked: self.asked.clone(),
            leave: self.leave.clone(),
        }))
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        DiskFiles.open(path)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        DiskFiles.sync_dir(dir)
    }
}

impl SegmentFile for HeldFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        self.file.append(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if self.writes > 1 {
            self.asked.send(()).unwrap();
            self.leave.recv().unwrap()?;
        }
        self.file.sync_data()
    }
}

/// A journal's thread, and the disk under it.
struct Held {
    _dir: tempfile::TempDir,
    requests: Sender<Request>,
    to_worker: Receiver<Vec<Accepted>>,
    asked: mpsc::Receiver<()>,
    leave: Sender<io::Result<()>>,
}

/// A journal on a held disk: what syncs ask for, and the leave that they wait for.
fn held_journal(data_dir: &DataDir) -> (Journal, mpsc::Receiver<()>, Sender<io::Result<()>>) {
    let (asked_sender, asked) = mpsc::channel();
    let (leave, leave_receiver) = crossbeam_channel::unbounded();
    let files = HeldFiles {
        asked: asked_sender,
        leave: leave_receiver,
    };
    let (journal, _) = Journal::open_with(data_dir.journal(), JournalOptions::default(), Box::new(files)).unwrap();
    (journal, asked, leave)
}

/// Asking needs a timer; nothing else of the runtime is used.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

fn held() -> Held {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().join("data")).unwrap();
    let (journal, asked, leave) = held_journal(&data_dir);
    let (requests, receiver) = crossbeam_channel::unbounded();
    let (sender, to_worker) = crossbeam_channel::unbounded();
    let mut thread = JournalThread {
        journal,
        requests: receiver,
        to_worker: sender,
        clock: Clock::manual(),
        progress: Arc::new(Progress::default()),
        metrics: Arc::new(Metrics::default()),
        options: options(data_dir),
        retention_looked: Instant::now(),
        stopping: Arc::new(AtomicBool::new(false)),
        last_at: Timestamp(0),
        quiet_since: Seq(0),
        disk_full_at: None,
        rejudged: Rejudged::unknown_up_to(Seq(0)),
    };
    std::thread::spawn(move || thread.run());
    Held {
        _dir: dir,
        requests,
        to_worker,
        asked,
        leave,
    }
}

fn options(data_dir: DataDir) -> IntakeOptions {
    IntakeOptions {
        max_lag_entries: 1000,
        max_lag_bytes: 1 << 30,
        disk_space: DiskSpace::new(data_dir.path().to_owned(), 0),
        data_dir,
        last_accepted: Timestamp(0),
        retention: RetentionPolicy::default(),
    }
}

fn letter(text: &str) -> Item {
    Item::DeadLetter {
        provider: String::new(),
        reason: text.into(),
        raw: Vec::new(),
    }
}

impl Held {
    fn send(&self, text: &str) -> oneshot::Receiver<Result<Seq, Refused>> {
        let tenant = TenantId::from("t");
        let items = vec![letter(text)];
        let sizes = super::super::size::sizes_of(&tenant, &items).unwrap();
        let (reply, answer) = oneshot::channel();
        let request = Request {
            tenant,
            items,
            sizes,
            waiter: None,
            holding: None,
            arrived: Instant::now(),
            reply,
        };
        self.requests.send(request).unwrap();
        answer
    }
}

#[test]
fn nobody_is_answered_before_the_disk_says_that_it_has_the_entry() {
    let held = held();
    let mut answer = held.send("first");
    held.asked
        .recv_timeout(PATIENCE)
        .expect("entries are synced before anybody is answered");
    std::thread::sleep(A_WHILE);
    assert!(answer.try_recv().is_err(), "answered before the sync returned");
    assert!(held.to_worker.try_recv().is_err(), "applied before the sync returned");
    held.leave.send(Ok(())).unwrap();
    assert_eq!(answer.blocking_recv().unwrap().unwrap(), Seq(1));
    assert_eq!(held.to_worker.recv_timeout(PATIENCE).unwrap().len(), 1);
}

#[test]
fn a_failed_sync_is_told_to_everybody_who_waited_for_it_and_after() {
    let held = held();
    let first = held.send("first");
    held.asked.recv_timeout(PATIENCE).unwrap();
    // These wait behind: they share the next group.
    let behind = [held.send("second"), held.send("third")];
    held.leave.send(Err(io::Error::other("injected"))).unwrap();
    for answer in [first].into_iter().chain(behind) {
        let refused = answer.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(refused, Refused::Broken(_)), "{refused}");
    }
    assert!(held.to_worker.try_recv().is_err(), "nothing of it is applied");
}

/// The size is known before the queue, so this never happens; if it did, the neighbours would not notice.
#[test]
fn an_entry_that_cannot_be_written_refuses_its_own_request_only() {
    let held = held();
    let blocker = held.send("keeps the thread busy while the others gather");
    held.asked.recv_timeout(PATIENCE).unwrap();
    let good = held.send("good");
    let (reply, bad) = oneshot::channel();
    let command = Command::DismissDeadLetters {
        seqs: Some((1 << 40..(1 << 40) + 1_200_000).collect()),
    };
    let request = Request {
        tenant: TenantId::from("t"),
        items: vec![Item::Command {
            guard: Guard::default(),
            actor: "a".into(),
            command,
        }],
        sizes: vec![Default::default()],
        waiter: None,
        holding: None,
        arrived: Instant::now(),
        reply,
    };
    held.requests.send(request).unwrap();
    let other = held.send("also good");
    held.leave.send(Ok(())).unwrap();
    held.leave.send(Ok(())).unwrap();
    assert_eq!(blocker.blocking_recv().unwrap().unwrap(), Seq(1));
    assert_eq!(good.blocking_recv().unwrap().unwrap(), Seq(2));
    let refused = bad.blocking_recv().unwrap().unwrap_err();
    assert!(matches!(refused, Refused::TooLarge { .. }), "{refused}");
    assert_eq!(other.blocking_recv().unwrap().unwrap(), Seq(3));
}

#[test]
fn commands_are_taken_above_the_limit_on_lag_and_not_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().join("data")).unwrap();
    let (journal, _) = Journal::open(data_dir.journal(), JournalOptions::default()).unwrap();
    let progress = Arc::new(Progress::default());
    let (intake, _groups, _thread) = Intake::start(
        journal,
        options(data_dir),
        Clock::manual(),
        Arc::clone(&progress),
        Arc::new(Metrics::default()),
    )
    .unwrap();
    let runtime = runtime();
    let command = || Item::Command {
        guard: Guard::default(),
        actor: "a".into(),
        command: Command::DismissDeadLetters { seqs: None },
    };
    let accept = |item| {
        runtime
            .block_on(intake.accept(TenantId::from("t"), vec![item], false))
            .map(|_| ())
    };
    progress.accepted.store(1000, Ordering::SeqCst);
    assert!(matches!(accept(letter("x")), Err(Refused::Behind(_))));
    accept(command()).unwrap();
    progress
        .accepted
        .store(1000 + super::super::COMMAND_RESERVE_ENTRIES, Ordering::SeqCst);
    assert!(matches!(accept(command()), Err(Refused::Behind(_))));
    progress.accepted.store(0, Ordering::SeqCst);
    progress
        .waiting_bytes
        .store((1 << 30) + super::super::COMMAND_RESERVE_BYTES, Ordering::SeqCst);
    assert!(matches!(accept(command()), Err(Refused::Behind(_))));
    intake.stop();
}

fn marks(dir: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(dir.join("journal")).unwrap();
    let paths = items.map(|item| item.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "synced"))
        .collect()
}

/// Nothing in the file says of the newest group that it was synced; derived state does, unless it is behind.
#[test]
fn a_clean_stop_and_a_quiet_time_note_down_up_to_where_the_journal_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path().join("data")).unwrap();
    let path = data_dir.path().to_owned();
    let (journal, _) = Journal::open(data_dir.journal(), JournalOptions::default()).unwrap();
    let progress = Arc::new(Progress::default());
    let metrics = Arc::new(Metrics::default());
    let (intake, _groups, mut thread) = Intake::prepare(
        journal,
        options(data_dir),
        Clock::manual(),
        Arc::clone(&progress),
        metrics,
    );
    let runtime = runtime();
    let _entered = runtime.enter();
    let accept = |thread: &mut JournalThread, text| {
        let mut asking = Box::pin(intake.accept(TenantId::from("t"), vec![letter(text)], false));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asking.as_mut().poll(&mut context).is_pending());
        assert!(thread.turn());
        assert!(asking.as_mut().poll(&mut context).is_ready());
    };
    accept(&mut thread, "first");
    thread.mark_if_quiet();
    assert_eq!(marks(&path).len(), 0, "something came since the last look");
    progress.set_flushed(Seq(1));
    thread.mark_if_quiet();
    assert_eq!(marks(&path).len(), 0, "derived state has seen it");
    progress.set_flushed(Seq(0));
    thread.mark_if_quiet();
    assert_eq!(marks(&path).len(), 1);
    accept(&mut thread, "second");
    std::fs::remove_file(&marks(&path)[0]).unwrap();
    intake.stop();
    thread.run();
    assert_eq!(marks(&path).len(), 1, "a clean stop says it");
}
