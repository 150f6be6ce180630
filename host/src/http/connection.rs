//! One connection as hyper sees it: a socket that is closed when its client is too slow, and whose refusals of broken
//! heads have a body like every other answer of ours. Knows no route and no request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A client that takes nothing of an answer for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// After an answer to a request that was not read to its end, the rest is read and thrown away for so long: closing at
/// once would take the answer away from the client.
const LINGER: Duration = Duration::from_secs(1);
/// Reads of one turn while the rest is thrown away.
const LINGER_READS: usize = 64;

/// Where a connection is between requests; shared by its socket and its service.
#[derive(Debug, Default)]
pub struct Phase {
    /// Requests that reached the service.
    calls: AtomicU64,
    /// Requests that are not answered to the end.
    open: AtomicU64,
    /// A request was not read to its end.
    unread: AtomicBool,
}

impl Phase {
    /// A request begins; it lasts until the guard is dropped.
    pub fn begin(self: &Arc<Phase>) -> Open {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(self))
    }

    /// The connection will be closed with bytes on their way.
    pub fn leave_unread(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A request that is not answered to the end.
#[derive(Debug)]
pub struct Open(Arc<Phase>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request, and for the first byte of a connection.
    pub header: Duration,
    /// Between requests.
    pub idle: Duration,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The first byte of the connection.
    First,
    /// The rest of a head.
    Head,
    /// Another request.
    Another,
    /// Nothing: a request is being answered.
    Nothing,
}

/// The socket.
pub struct GuardedStream {
    inner: TcpStream,
    phase: Arc<Phase>,
    patience: Patience,
    waiting: Waiting,
    /// Calls when `waiting` was last settled.
    calls_seen: u64,
    /// When it is waited for no longer.
    deadline: Option<Instant>,
    /// Fires at the deadline, or before: it is not set again for each request.
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    linger_timer: Option<Pin<Box<Sleep>>>,
    /// Set while hyper's buffer is empty and nothing is being answered: the calls at that time. What is written before
    /// another call is hyper's own refusal.
    quiet_at: Option<u64>,
    /// Our words instead of hyper's, and how much of them is written.
    instead: Option<(Vec<u8>, usize)>,
}

impl GuardedStream {
    /// Guards a socket.
    pub fn new(inner: TcpStream, phase: Arc<Phase>, patience: Patience) -> GuardedStream {
        GuardedStream {
            inner,
            phase,
            patience,
            waiting: Waiting::First,
            calls_seen: 0,
            deadline: None,
            read_timer: None,
            write_timer: None,
            linger_timer: None,
            quiet_at: Some(0),
            instead: None,
        }
    }

    fn wait_for(&mut self, waiting: Waiting) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.deadline = None;
        }
    }

    /// Follows the requests that came and went since the last look.
    fn settle(&mut self) {
        if self.phase.is_open() {
            self.wait_for(Waiting::Nothing);
        } else if self.waiting == Waiting::Nothing || self.phase.calls() != self.calls_seen {
            self.calls_seen = self.phase.calls();
            self.waiting = Waiting::Another;
            self.deadline = None;
        }
    }

    /// Pending while there is time; then the connection looks closed by its client.
    fn poll_read_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = match self.waiting {
            Waiting::Nothing => return Poll::Pending,
            Waiting::First | Waiting::Head => self.patience.header,
            Waiting::Another => self.patience.idle,
        };
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + patience);
        let timer = self
            .read_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() < deadline {
                timer.as_mut().reset(deadline);
                continue;
            }
            self.give_up();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// The client was too slow.
    fn give_up(&mut self) {
        if self.waiting == Waiting::Head {
            // Whoever is that slow may miss it.
            let _ = self.inner.try_write(&refusal(408));
        }
    }

    /// Writes our own words, if there are some to write.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((text, written)) = &mut self.instead {
            let rest = text.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.instead = None;
                break;
            }
            *written += ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what hyper is about to write; true if it is a refusal of its own, which ours replaces.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if self.instead.is_some() {
            return true;
        }
        let own = self.quiet_at.take() == Some(self.phase.calls()) && !self.phase.is_open();
        let status = bytes.get(9..12).and_then(|code| std::str::from_utf8(code).ok());
        match status.and_then(|code| code.parse::<u16>().ok()) {
            Some(status @ 400..=499) if own => {
                self.phase.leave_unread();
                self.instead = Some((refusal(status), 0));
                true
            }
            _ => false,
        }
    }

    fn stalled(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads what is still on its way and throws it away.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .linger_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0u8; 4096];
        for _ in 0..LINGER_READS {
            let mut rest = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.settle();
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Pending => self.poll_read_timer(cx).map(Ok),
            Poll::Ready(read) => {
                if buffer.filled().len() > before && self.waiting != Waiting::Nothing {
                    self.wait_for(Waiting::Head);
                }
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            let written = self.poll_instead(cx).map_ok(|()| bytes.len());
            return self.stalled(cx, written);
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(parts.first().map_or(&[], |part| part)) {
            let all = parts.iter().map(|part| part.len()).sum();
            let written = self.poll_instead(cx).map_ok(|()| all);
            return self.stalled(cx, written);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Hyper flushes only what it has written out: from here on it has nothing left to say about earlier requests.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.phase.is_open() {
            self.quiet_at = Some(self.phase.calls());
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger_timer.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        if self.phase.unread.load(Ordering::SeqCst) {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// What a client is told whose request is not one that a handler could see: in the shape of every other error.
pub fn refusal(status: u16) -> Vec<u8> {
    let (reason, code, detail) = match status {
        408 => (
            "Request Timeout",
            "timeout",
            "the head of the request did not come in time; see server.header_timeout_ms",
        ),
        414 => (
            "URI Too Long",
            "uri_too_long",
            "the address of the request is too long; send less in it",
        ),
        431 => (
            "Request Header Fields Too Large",
            "headers_too_large",
            "the head of the request is too large, or has too many headers; send fewer and shorter ones",
        ),
        503 => (
            "Service Unavailable",
            "too_many_connections",
            "too many connections; close some, or try again later; see server.max_connections",
        ),
        _ => ("Bad Request", "bad_request", "this is not a request of HTTP/1.1"),
    };
    let status = if reason == "Bad Request" { 400 } else { status };
    let body = serde_json::json!({"detail": detail, "code": code}).to_string();
    let retry = if status == 503 { "retry-after: 2\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: \
         close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
