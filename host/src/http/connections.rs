//! Connections, as many as there are descriptors for: accepted, counted, served and drained. What would be one too many
//! is told so and closed. Knows no route.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{Admitted, GuardedBody};
use super::connection::{GuardedStream, Open, Patience, Phase, refusal};
use super::error::ApiError;
use super::in_flight::{ByteBudget, InFlight};
use crate::config::Server;
use crate::telemetry::Metrics;

/// Descriptors that connections never get: segments of the journal and their readers, derived state, plugins, threads.
const KEPT_BACK_DESCRIPTORS: u64 = 128;
/// Where there are few, connections get no more than a quarter of them.
const LEAST_SHARE: u64 = 4;
/// Largest head of a request, and what is kept of a body or an answer for one connection.
pub const CONNECTION_BUFFER_BYTES: usize = 64 << 10;
/// Connections at once that are told that they are too many; more are closed without a word.
const TURNED_AWAY_AT_ONCE: usize = 32;
/// How long such a connection may take to read it.
const TURN_AWAY: Duration = Duration::from_secs(1);
/// How often the log says that connections are refused.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Wait after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Raises the limit on open files as far as it goes, and says how many connections there may be.
pub fn connection_limit(wanted: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "limit on open files cannot be read; assuming 1024");
        1024
    });
    let allowed = allowed_connections(limit);
    if allowed < wanted {
        tracing::warn!(
            limit,
            "server.max_connections is lowered: the limit on open files leaves: {allowed}"
        );
    }
    wanted.min(allowed)
}

fn allowed_connections(descriptors: u64) -> usize {
    let rest = descriptors
        .saturating_sub(KEPT_BACK_DESCRIPTORS)
        .max(descriptors / LEAST_SHARE);
    usize::try_from(rest).unwrap_or(usize::MAX)
}

/// Everything that connections share.
pub struct Connections {
    places: Arc<Semaphore>,
    turning_away: Arc<Semaphore>,
    patience: Patience,
    body_patience: Duration,
    budget: Arc<ByteBudget>,
    metrics: Arc<Metrics>,
    refused: Seldom,
    failed: Seldom,
}

impl Connections {
    /// With the limits of the configuration, `limit` connections at once.
    pub fn new(server: &Server, limit: usize, budget: Arc<ByteBudget>, metrics: Arc<Metrics>) -> Arc<Connections> {
        Arc::new(Connections {
            places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            turning_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
            patience: Patience {
                header: Duration::from_millis(server.header_timeout_ms),
                idle: Duration::from_millis(server.idle_timeout_ms),
            },
            body_patience: Duration::from_millis(server.body_timeout_ms),
            budget,
            metrics,
            refused: Seldom::default(),
            failed: Seldom::default(),
        })
    }

    /// Serves until `stopping`, then until the last connection has ended.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, router: axum::Router, stopping: CancellationToken) {
        let running = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream, &router, &running, &stopping),
                Err(error) => self.accept_failed(&error).await,
            }
        }
        drop(listener);
        running.close();
        running.wait().await;
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        router: &axum::Router,
        running: &TaskTracker,
        stopping: &CancellationToken,
    ) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.turn_away(stream);
        };
        let (connections, router, stopping) = (Arc::clone(self), router.clone(), stopping.clone());
        running.spawn(async move { connections.run(stream, router, stopping, place).await });
    }

    async fn run(
        self: Arc<Self>,
        stream: TcpStream,
        router: axum::Router,
        stopping: CancellationToken,
        _place: OwnedSemaphorePermit,
    ) {
        let _counted = Counted::new(&self.metrics);
        // Small answers and events must not wait for each other.
        let _ = stream.set_nodelay(true);
        let phase = Arc::new(Phase::default());
        let socket = GuardedStream::new(stream, Arc::clone(&phase), self.patience);
        let service = Arc::new(Answering {
            router: TowerToHyperService::new(router),
            phase,
            connections: self,
        });
        let service = hyper::service::service_fn(move |request| answer(Arc::clone(&service), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(CONNECTION_BUFFER_BYTES)
            .max_header_size(CONNECTION_BUFFER_BYTES)
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    /// Too many: the client is told so, without waiting for its request.
    fn turn_away(self: &Arc<Self>, mut stream: TcpStream) {
        self.metrics.connections_refused.inc();
        if let Some(count) = self.refused.count() {
            tracing::warn!(
                count,
                "too many connections; new ones are answered 503; see server.max_connections and the limit on open files"
            );
        }
        let Ok(place) = Arc::clone(&self.turning_away).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let _place = place;
            let tell = async {
                stream.write_all(&refusal(503)).await?;
                stream.shutdown().await?;
                let mut scratch = [0u8; 1024];
                while stream.read(&mut scratch).await? > 0 {}
                Ok::<(), std::io::Error>(())
            };
            // It may have gone away already.
            let _ = tokio::time::timeout(TURN_AWAY, tell).await;
        });
    }

    async fn accept_failed(&self, error: &std::io::Error) {
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
        ) {
            return;
        }
        if let Some(count) = self.failed.count() {
            tracing::error!(%error, count, "connections cannot be accepted; trying again");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// The service of one connection.
struct Answering {
    router: TowerToHyperService<axum::Router>,
    phase: Arc<Phase>,
    connections: Arc<Connections>,
}

async fn answer(
    service: Arc<Answering>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Answer>, Infallible> {
    let open = service.phase.begin();
    let connections = &service.connections;
    let admitted = Admitted::new(InFlight::new(&connections.budget));
    let (held, phase) = (Arc::clone(&admitted), Arc::clone(&service.phase));
    let mut request = request.map(|body| Body::new(GuardedBody::new(body, held, phase, connections.body_patience)));
    request.extensions_mut().insert(Arc::clone(&admitted));
    let response: Response = service.router.call(request).await?;
    // What gave the body up says why; handlers saw only that it broke off.
    let response = match admitted.stopped() {
        Some(why) => ApiError::from(why).into_response(),
        None => response,
    };
    Ok(response.map(|inner| Answer { inner, _open: open }))
}

/// The body of an answer; the request lasts until it is gone.
struct Answer {
    inner: Body,
    _open: Open,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Counts a connection while it is there.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Counted {
        metrics.connections.inc();
        Counted(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// Something that happens often and is told seldom.
#[derive(Default)]
struct Seldom {
    since_told: AtomicU64,
    told: std::sync::Mutex<Option<Instant>>,
}

impl Seldom {
    /// Counts one; the count since the last time, if it is time to tell.
    fn count(&self) -> Option<u64> {
        self.since_told.fetch_add(1, Ordering::SeqCst);
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return None;
        }
        *told = Some(Instant::now());
        Some(self.since_told.swap(0, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_journal_and_to_derived_state() {
        for (descriptors, connections) in [(16, 4), (128, 32), (256, 128), (1024, 896), (1 << 20, (1 << 20) - 128)] {
            assert_eq!(allowed_connections(descriptors), connections, "{descriptors}");
        }
    }

    #[test]
    fn what_happens_often_is_told_once_a_minute() {
        let seldom = Seldom::default();
        assert_eq!((seldom.count(), seldom.count(), seldom.count()), (Some(1), None, None));
    }
}
