//! Bodies of requests on their way in: each is counted before it is read and must arrive at a rate. Knows no route and
//! nothing of what a body says.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::BytesMut;
use futures::StreamExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::Shared;
use super::connection::Phase;
use super::error::ApiError;
use super::in_flight::{InFlight, NoRoom};
use crate::intake::Holding;

/// What a body must bring each second once its time is over.
pub const MIN_BODY_BYTES_PER_SECOND: u64 = 64 << 10;

/// Why a body was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyStopped {
    /// No memory for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It does not come.
    #[error("body came too slowly: {0} bytes within server.body_timeout_ms and a second for each 64 KiB")]
    Slow(u64),
}

/// What a request holds, and how its body ended; beside the request as long as it is answered.
#[derive(Debug)]
pub struct Admitted {
    /// What it holds.
    pub in_flight: InFlight,
    stopped: OnceLock<BodyStopped>,
}

impl Admitted {
    /// A request that has just begun.
    pub fn new(in_flight: InFlight) -> Arc<Admitted> {
        Arc::new(Admitted {
            in_flight,
            stopped: OnceLock::new(),
        })
    }

    /// Why its body was given up, if it was.
    pub fn stopped(&self) -> Option<BodyStopped> {
        self.stopped.get().copied()
    }
}

impl Holding for Admitted {
    fn release(&self) {
        self.in_flight.release();
    }
}

/// A body as the connection brings it. Nothing is read, or counted, before a handler asks for it.
pub struct GuardedBody {
    inner: Incoming,
    admitted: Arc<Admitted>,
    phase: Arc<Phase>,
    patience: Duration,
    begun: Option<Instant>,
    counted: bool,
    ended: bool,
    received: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl GuardedBody {
    /// Guards a body; it has `patience`, and a second more for each `MIN_BODY_BYTES_PER_SECOND`.
    pub fn new(inner: Incoming, admitted: Arc<Admitted>, phase: Arc<Phase>, patience: Duration) -> GuardedBody {
        GuardedBody {
            inner,
            admitted,
            phase,
            patience,
            begun: None,
            counted: false,
            ended: false,
            received: 0,
            deadline: None,
        }
    }

    fn stop(&self, why: BodyStopped) -> BodyStopped {
        // The first reason counts.
        let _ = self.admitted.stopped.set(why);
        why
    }

    /// Counts the declared length, before the first byte is read.
    fn begin(&mut self) -> Result<Instant, BodyStopped> {
        if let Some(begun) = self.begun {
            return Ok(begun);
        }
        if let Some(length) = self.inner.size_hint().exact() {
            self.admitted
                .in_flight
                .take_body(length)
                .map_err(|full| self.stop(full.into()))?;
            self.counted = true;
        }
        Ok(*self.begun.insert(Instant::now()))
    }

    /// Ready once the body is too late.
    fn poll_deadline(&mut self, begun: Instant, cx: &mut Context<'_>) -> Poll<BodyStopped> {
        loop {
            let earned = Duration::from_secs(self.received / MIN_BODY_BYTES_PER_SECOND);
            let deadline = begun + self.patience + earned;
            if Instant::now() >= deadline {
                return Poll::Ready(self.stop(BodyStopped::Slow(self.received)));
            }
            let sleep = self
                .deadline
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.deadline = None,
            }
        }
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let begun = match this.begin() {
            Ok(begun) => begun,
            Err(why) => return Poll::Ready(Some(Err(axum::Error::new(why)))),
        };
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => this
                .poll_deadline(begun, cx)
                .map(|why| Some(Err(axum::Error::new(why)))),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.received += bytes;
                if !this.counted
                    && let Err(full) = this.admitted.in_flight.take_body(bytes)
                {
                    return Poll::Ready(Some(Err(axum::Error::new(this.stop(full.into())))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => {
                this.ended = other.is_none();
                Poll::Ready(other.map(|frame| frame.map_err(axum::Error::new)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        if !self.ended && !self.inner.is_end_stream() {
            self.phase.leave_unread();
        }
    }
}

/// The whole body of a request and what it holds, for handlers that look at it themselves.
pub struct WholeBody {
    /// The bytes.
    pub bytes: Bytes,
    /// What the request holds; what is made of the body is counted here too.
    pub admitted: Arc<Admitted>,
}

impl FromRequest<Shared> for WholeBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Shared) -> Result<WholeBody, ApiError> {
        let admitted = request.extensions().get::<Arc<Admitted>>().cloned();
        let admitted = admitted.ok_or_else(|| ApiError::internal("a request that nobody admitted"))?;
        let (limit, body) = (app.limits.max_body_bytes, request.into_body());
        let length = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if length > limit {
            return Err(ApiError::body_too_large());
        }
        let mut whole = BytesMut::with_capacity(length);
        let mut parts = body.into_data_stream();
        while let Some(part) = parts.next().await {
            // What stopped it, if it was us, is answered where the request came in.
            let part = part.map_err(|error| ApiError::bad_request(format!("body broke off: {error}")))?;
            if whole.len() + part.len() > limit {
                return Err(ApiError::body_too_large());
            }
            whole.extend_from_slice(&part);
        }
        Ok(WholeBody {
            bytes: whole.freeze(),
            admitted,
        })
    }
}
