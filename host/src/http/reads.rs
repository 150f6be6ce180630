//! How much may be read at a time, for how long, and how much of it may wait to be sent: permits, one deadline a request,
//! and an end to the work once nobody waits for it. One of several tenants never holds all of it. Knows no route and no data.

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
use super::pieces::{PIECE_BYTES, Pieces};
use super::shares::{Shares, Tenants};
use crate::config;

/// Reads of single records at a time: they are short, but each takes a thread while it waits for a disk.
pub const LOOK_UPS_AT_ONCE: usize = 16;
/// Compilations of conditions at a time: they take nothing but computing time, of which the pipeline needs its part.
const COMPILES_AT_ONCE: usize = 1;
/// Requests that may wait for a permit; further ones are refused at once.
const MAX_WAITING: usize = 64;
/// Answers of the largest size that may be on their way to clients. Beside them are those that are being made, or wait for
/// their place among these: no more than there are permits to read, which are kept until then.
pub const LARGEST_ANSWERS_AT_ONCE: usize = 8;
/// Smaller answers are sent as they are.
const SMALL_ANSWER_BYTES: usize = PIECE_BYTES;
/// How long an answer that was made waits for its place: enough for clients that take theirs, and no longer, because it
/// keeps a permit to read from others.
const SEND_PATIENCE: Duration = Duration::from_secs(2);
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
        self.run_holding(work, read).await.map(|(found, _)| found)
    }

    /// Runs a read and sends what it answers; where that is large, its permit to read is kept until there is one to send.
    ///
    /// # Errors
    /// Like `run`; 429 when too many large answers wait for slow readers.
    pub async fn answer(
        &self,
        work: Work,
        read: impl FnOnce(&Pace) -> Result<Response<Pieces>, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let (response, making) = self.run_holding(work, read).await?;
        self.send(making, response).await
    }

    async fn run_holding<T: Send + 'static>(
        &self,
        work: Work,
        read: impl FnOnce(&Pace) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<(T, Option<Held>), ApiError> {
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
            pace.check()?;
            Ok((read(&pace)?, permit))
        });
        let outcome = reading.await.map_err(|error| ApiError::internal(error.to_string()))?;
        drop(asking);
        outcome
    }

    /// Sends a large body in pieces; its permit is given back when the client has taken nearly all of it. What is not sent
    /// is dropped before the permit under which it was made: parameters go in reverse order.
    async fn send(&self, making: Option<Held>, mut response: Response<Pieces>) -> Result<Response, ApiError> {
        let length = response.body().bytes();
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if length <= SMALL_ANSWER_BYTES {
            return Ok(response.map(|body| Body::from(body.joined())));
        }
        // One answer may be larger than all permits: a single item above the limit.
        let all = self.reads.answers.shares.each();
        let units = u32::try_from((length / UNIT_BYTES + 1).min(all)).unwrap_or(u32::MAX);
        let end = Instant::now() + self.reads.deadline.min(SEND_PATIENCE);
        let permit = self.permit(&self.reads.answers, units, end).await?;
        drop(making);
        Ok(response.map(|body| Body::from_stream(sending(body, permit))))
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

fn sending(
    body: Pieces,
    permit: Held,
) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    futures::stream::unfold((body.queue(), permit), |(mut queue, permit)| async move {
        let piece = queue.pop_front()?;
        Some((Ok(piece), (queue, permit)))
    })
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;
