//! How much may be read at a time, for how long, and how much of it may wait to be sent: permits, one deadline a request, and an end to the work
//! once nobody waits for it. One of several tenants never holds all of it. Knows no route and no data.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use donjon_core::TenantId;

use super::error::ApiError;
use super::shares::{Shares, Tenants};
use crate::config;

/// Reads of single records at a time: they are short, but each takes a thread while it waits for a disk.
const LOOK_UPS_AT_ONCE: usize = 16;
/// Compilations of conditions at a time: they take nothing but computing time, of which the pipeline needs its part.
const COMPILES_AT_ONCE: usize = 1;
/// Requests that may wait for a permit; further ones are refused at once.
const MAX_WAITING: usize = 64;
/// Answers of the largest size that may be in memory, made and not yet sent.
pub const LARGEST_ANSWERS_AT_ONCE: usize = 8;
/// Smaller answers are sent as they are.
const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Permits for answers are counted in these.
const UNIT_BYTES: usize = 1 << 10;

/// What a read does, which decides how many of it run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Looks at all records of a kind.
    Scan,
    /// Looks at records it knows the keys of.
    LookUp,
    /// Compiles conditions.
    Compile,
    /// Looks at the record that a command was about. The command had its turn: that it was applied is told however many
    /// read at the moment.
    Outcome,
}

/// The permits.
pub struct Reads {
    scans: Permits,
    look_ups: Permits,
    compiles: Permits,
    answers: Permits,
    waiting: Permits,
    deadline: Duration,
    max_answer_bytes: usize,
}

/// Permits of all tenants, and of each.
struct Permits {
    all: Arc<Semaphore>,
    shares: Shares,
}

/// Permits that are held. Both are given back at once.
struct Held {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Permits {
    fn new(tenants: Tenants, count: usize) -> Permits {
        let count = count.min(Semaphore::MAX_PERMITS);
        Permits {
            all: Arc::new(Semaphore::new(count)),
            shares: Shares::new(tenants, count),
        }
    }

    fn try_hold(&self, tenant: &TenantId, count: u32) -> Option<Held> {
        Some(Held {
            _own: self.shares.of(tenant).try_acquire_many_owned(count).ok()?,
            _of_all: Arc::clone(&self.all).try_acquire_many_owned(count).ok()?,
        })
    }

    /// Its own first: a tenant that waits for itself is in nobody's way.
    async fn hold(&self, tenant: &TenantId, count: u32) -> Option<Held> {
        Some(Held {
            _own: self.shares.of(tenant).acquire_many_owned(count).await.ok()?,
            _of_all: Arc::clone(&self.all).acquire_many_owned(count).await.ok()?,
        })
    }
}

/// The reads of one tenant.
pub struct TenantReads<'a> {
    reads: &'a Reads,
    tenant: TenantId,
}

/// Whether a read should go on: until its deadline, and while its client waits.
#[derive(Clone, Debug)]
pub struct Pace {
    end: Instant,
    gone: Arc<AtomicBool>,
    deadline: Duration,
}

/// Dropped with the request: then nobody waits any more.
struct Asking(Arc<AtomicBool>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pace {
    /// Goes on.
    ///
    /// # Errors
    /// 503 past the deadline. Where the client is gone the error reaches nobody.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.is_over() {
            return Err(ApiError::read_took_too_long(self.deadline));
        }
        Ok(())
    }

    /// Whether it should end.
    pub fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || Instant::now() >= self.end
    }

    /// The same for a scan of the store.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.is_over() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Reads {
    /// All permits are free.
    #[must_use]
    pub fn new(config: &config::Reads, tenants: Tenants) -> Reads {
        let permits = |count: usize| Permits::new(tenants, count);
        let answers = config.max_answer_bytes.saturating_mul(LARGEST_ANSWERS_AT_ONCE) / UNIT_BYTES;
        Reads {
            scans: permits(config.scans_at_once),
            look_ups: permits(LOOK_UPS_AT_ONCE),
            compiles: permits(COMPILES_AT_ONCE),
            answers: permits(answers.min(u32::MAX as usize)),
            waiting: permits(MAX_WAITING),
            deadline: Duration::from_millis(config.deadline_ms),
            max_answer_bytes: config.max_answer_bytes,
        }
    }

    /// Size at which a page ends early.
    #[must_use]
    pub fn max_answer_bytes(&self) -> usize {
        self.max_answer_bytes
    }

    /// The reads of a tenant.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> TenantReads<'_> {
        TenantReads {
            reads: self,
            tenant: tenant.clone(),
        }
    }
}

impl TenantReads<'_> {
    /// Runs a read where it may block, once it may. Ends with its future: the work then stops at its next look at the pace.
    ///
    /// # Errors
    /// 429 when too many wait already, or none ended in time; else what the read answers.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        read: impl FnOnce(&Pace) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let end = Instant::now() + self.reads.deadline;
        let asking = Asking(Arc::default());
        let pace = Pace {
            end,
            gone: Arc::clone(&asking.0),
            deadline: self.reads.deadline,
        };
        let permits = match work {
            Work::Scan => Some(&self.reads.scans),
            Work::LookUp => Some(&self.reads.look_ups),
            Work::Compile => Some(&self.reads.compiles),
            Work::Outcome => None,
        };
        let permit = match permits {
            Some(permits) => Some(self.permit(permits, 1, end).await?),
            None => None,
        };
        let reading = tokio::task::spawn_blocking(move || {
            // Given back when the work ends, not when the client leaves.
            let _permit = permit;
            pace.check()?;
            read(&pace)
        });
        let outcome = reading.await.map_err(|error| ApiError::internal(error.to_string()))?;
        drop(asking);
        outcome
    }

    /// Sends a large body in pieces; its permit is given back when the client has taken nearly all of it.
    ///
    /// # Errors
    /// 429 when too many large answers wait for slow readers.
    pub async fn send(&self, mut response: Response<Vec<u8>>) -> Result<Response, ApiError> {
        let length = response.body().len();
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if length <= SMALL_ANSWER_BYTES {
            return Ok(response.map(Body::from));
        }
        // One answer may be larger than all permits: a single item above the limit.
        let all = self.reads.answers.shares.each();
        let units = u32::try_from((length / UNIT_BYTES + 1).min(all)).unwrap_or(u32::MAX);
        let permit = self
            .permit(&self.reads.answers, units, Instant::now() + self.reads.deadline)
            .await?;
        Ok(response.map(|body| Body::from_stream(pieces(body.into(), permit))))
    }

    async fn permit(&self, permits: &Permits, count: u32, end: Instant) -> Result<Held, ApiError> {
        if let Some(held) = permits.try_hold(&self.tenant, count) {
            return Ok(held);
        }
        let waiting = self.reads.waiting.try_hold(&self.tenant, 1);
        let _waiting = waiting.ok_or_else(ApiError::too_many_reads)?;
        match timeout_at(end.into(), permits.hold(&self.tenant, count)).await {
            Ok(Some(held)) => Ok(held),
            _ => Err(ApiError::too_many_reads()),
        }
    }
}

fn pieces(
    body: Bytes,
    permit: Held,
) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    futures::stream::unfold((body, permit), |(mut body, permit)| async move {
        if body.is_empty() {
            return None;
        }
        let piece = body.split_to(body.len().min(SMALL_ANSWER_BYTES));
        Some((Ok(piece), (body, permit)))
    })
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn large_answers_keep_their_permit_until_they_are_taken() {
        use futures::StreamExt;
        let reads = reads(1, 20);
        let answer = || Response::new(vec![b'x'; reads.max_answer_bytes()]);
        let mut sent = Vec::new();
        while let Ok(response) = reads.of(&"a".into()).send(answer()).await {
            sent.push(response);
        }
        assert!(sent.len() < LARGEST_ANSWERS_AT_ONCE + 1, "{}", sent.len());
        assert!(
            reads.of(&"a".into()).send(Response::new(vec![b'x'; 100])).await.is_ok(),
            "small ones pass"
        );
        let mut body = sent.pop().unwrap().into_body().into_data_stream();
        let mut taken = 0;
        while let Some(piece) = body.next().await {
            taken += piece.unwrap().len();
        }
        assert_eq!(taken, reads.max_answer_bytes());
        assert!(
            reads.of(&"a".into()).send(answer()).await.is_ok(),
            "its room is free again"
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
        wait_until(|| reads.waiting.all.available_permits() == MAX_WAITING - Tenants::Several.share_of(MAX_WAITING))
            .await;
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
}
