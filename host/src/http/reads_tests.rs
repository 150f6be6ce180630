//! What is promised of reads: how many at a time, how long, and how much of it is in memory.

use std::sync::atomic::AtomicUsize;

use super::*;

fn reads(scans_at_once: usize, deadline_ms: u64) -> Arc<Reads> {
    Arc::new(Reads::new(
        &config::Reads {
            scans_at_once,
            deadline_ms,
            ..config::Reads::default()
        },
        Tenants::One,
    ))
}

async fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn only_so_many_scans_run_and_only_so_many_wait() {
    only_so_many(Work::Scan, 2).await;
}

#[tokio::test]
async fn conditions_are_compiled_one_at_a_time_off_the_async_threads() {
    only_so_many(Work::Compile, COMPILES_AT_ONCE).await;
}

async fn only_so_many(work: Work, allowed: usize) {
    let reads = reads(2, 60_000);
    let here = std::thread::current().id();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let go = Arc::new(AtomicBool::new(false));
    let scan = || {
        let (reads, running, most, go) = (
            Arc::clone(&reads),
            Arc::clone(&running),
            Arc::clone(&most),
            Arc::clone(&go),
        );
        tokio::spawn(async move {
            let read = move |_: &Pace| {
                assert_ne!(std::thread::current().id(), here, "on a thread for work that blocks");
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                while !go.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            };
            reads.of(&"a".into()).run(work, read).await
        })
    };
    let accepted: Vec<_> = (0..allowed + MAX_WAITING).map(|_| scan()).collect();
    wait_until(|| reads.waiting.all.available_permits() == 0).await;
    assert!(scan().await.unwrap().is_err(), "one too many");
    // A permit is held a moment before its work begins.
    wait_until(|| most.load(Ordering::SeqCst) >= allowed).await;
    go.store(true, Ordering::SeqCst);
    for one in accepted {
        assert!(one.await.unwrap().is_ok());
    }
    assert_eq!(most.load(Ordering::SeqCst), allowed);
}

#[tokio::test]
async fn work_ends_when_its_client_is_gone_or_its_time_is_up() {
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let until_over = || {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        move |pace: &Pace| -> Result<(), ApiError> {
            begun.fetch_add(1, Ordering::SeqCst);
            while pace.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            ended.fetch_add(1, Ordering::SeqCst);
            pace.check()
        }
    };
    let patient = reads(1, 600_000);
    let asking = tokio::spawn({
        let (reads, work) = (Arc::clone(&patient), until_over());
        async move { reads.of(&"a".into()).run(Work::Scan, work).await }
    });
    // Not only queued: work whose client is gone before it begins does not begin.
    wait_until(|| begun.load(Ordering::SeqCst) == 1).await;
    assert_eq!(patient.scans.all.available_permits(), 0);
    asking.abort();
    wait_until(|| ended.load(Ordering::SeqCst) == 1).await;
    wait_until(|| patient.scans.all.available_permits() == 1).await;

    let short = reads(1, 20).of(&"a".into()).run(Work::Scan, until_over()).await;
    assert!(short.is_err());
    assert_eq!(ended.load(Ordering::SeqCst), 2);
}

fn of_bytes(count: usize) -> Response<Pieces> {
    Response::new(vec![b'x'; count].into())
}

#[tokio::test]
async fn large_answers_keep_their_permit_until_they_are_taken() {
    use futures::StreamExt;
    let reads = reads(1, 1_000);
    let (mine, most) = (reads.of(&"a".into()), reads.max_answer_bytes());
    let mut sent = Vec::new();
    while let Ok(response) = mine.answer(Work::Outcome, move |_| Ok(of_bytes(most))).await {
        sent.push(response);
    }
    assert!(sent.len() < LARGEST_ANSWERS_AT_ONCE + 1, "{}", sent.len());
    assert!(
        mine.answer(Work::Scan, |_| Ok(of_bytes(100))).await.is_ok(),
        "small ones pass"
    );
    let mut body = sent.pop().unwrap().into_body().into_data_stream();
    let mut taken = 0;
    while let Some(piece) = body.next().await {
        taken += piece.unwrap().len();
    }
    assert_eq!(taken, most);
    assert!(
        mine.answer(Work::Scan, move |_| Ok(of_bytes(most))).await.is_ok(),
        "its room is free again"
    );
}

/// Counts an answer as long as it is in memory.
struct InMemory(Arc<AtomicUsize>);

impl Drop for InMemory {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn answers_that_wait_to_be_sent_are_as_many_as_may_be_made() {
    let config = config::Reads {
        scans_at_once: 2,
        deadline_ms: 2_000,
        max_answer_bytes: 1 << 20,
    };
    let most_bytes = config.max_answer_bytes;
    let reads = Arc::new(Reads::new(&config, Tenants::One));
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ask = |_| {
        let (reads, alive, most) = (Arc::clone(&reads), Arc::clone(&alive), Arc::clone(&most));
        tokio::spawn(async move {
            let read = move |_: &Pace| {
                most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut response = of_bytes(most_bytes);
                response.extensions_mut().insert(Arc::new(InMemory(alive)));
                Ok(response)
            };
            reads.of(&"a".into()).answer(Work::Scan, read).await
        })
    };
    let (mut sent, mut refused) = (Vec::new(), 0);
    for asked in (0..40).map(ask).collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(response) => sent.push(response),
            Err(_) => refused += 1,
        }
    }
    assert_eq!(sent.len() + refused, 40);
    let most = most.load(Ordering::SeqCst);
    assert!(
        (LARGEST_ANSWERS_AT_ONCE..=LARGEST_ANSWERS_AT_ONCE + config.scans_at_once).contains(&most),
        "{most}"
    );
    assert_eq!(
        alive.load(Ordering::SeqCst),
        sent.len(),
        "those that were refused are gone"
    );
}

#[tokio::test]
async fn what_a_command_did_is_told_however_many_read() {
    let reads = reads(1, 20);
    let _all = reads.look_ups.try_hold(&"a".into(), 16).unwrap();
    let one = |_: &Pace| Ok(1);
    assert!(reads.of(&"a".into()).run(Work::LookUp, one).await.is_err());
    assert_eq!(reads.of(&"a".into()).run(Work::Outcome, one).await.ok(), Some(1));
}

#[tokio::test]
async fn a_tenant_that_reads_all_it_may_keeps_no_other_waiting() {
    let config = config::Reads::default();
    let reads = Arc::new(Reads::new(&config, Tenants::Several));
    let until = Arc::new(AtomicBool::new(false));
    let scan = |tenant: &'static str| {
        let (reads, until) = (Arc::clone(&reads), Arc::clone(&until));
        tokio::spawn(async move {
            let read = move |_: &Pace| {
                while tenant == "b" && !until.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            };
            reads.of(&tenant.into()).run(Work::Scan, read).await
        })
    };
    let greedy: Vec<_> = (0..2 * MAX_WAITING).map(|_| scan("b")).collect();
    wait_until(|| reads.waiting.all.available_permits() == MAX_WAITING - Tenants::Several.share_of(MAX_WAITING)).await;
    for _ in 0..20 {
        assert!(scan("a").await.unwrap().is_ok());
    }
    until.store(true, Ordering::SeqCst);
    let mut done = 0;
    for one in greedy {
        done += usize::from(one.await.unwrap().is_ok());
    }
    let (running, waiting) = (config.scans_at_once, MAX_WAITING);
    assert_eq!(
        done,
        Tenants::Several.share_of(running) + Tenants::Several.share_of(waiting)
    );
}
