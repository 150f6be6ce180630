//! What WASI knows of an instance: whose it is, which call runs, how much randomness the call has had, and the output
//! that is no whole line yet. Reads no clock and no file.

use std::sync::Arc;

use donjon_core::{TenantId, Timestamp};
use tracing::Level;

use crate::log_gate::LogGate;
use crate::wasi::lines::{ErrorTail, Lines};
use crate::wasi::random::Stream;

/// The first alert of a call: what time and randomness come from, so that the same call gives the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallOrigin {
    pub(crate) seq: u64,
    pub(crate) accepted: Timestamp,
}

pub(crate) struct WasiState {
    plugin: Arc<str>,
    tenant: TenantId,
    log: Arc<LogGate>,
    /// None outside of calls with alerts.
    origin: Option<CallOrigin>,
    random: Stream,
    out: Lines,
    err: Lines,
    error_tail: ErrorTail,
}

impl WasiState {
    pub(crate) fn new(plugin: Arc<str>, tenant: TenantId, log: Arc<LogGate>, line_bytes: usize) -> WasiState {
        WasiState {
            random: Stream::new(&plugin, &tenant, None),
            plugin,
            tenant,
            log,
            origin: None,
            out: Lines::of_at_most(line_bytes),
            err: Lines::of_at_most(line_bytes),
            error_tail: ErrorTail::default(),
        }
    }

    /// Before a call with alerts.
    pub(crate) fn begin_alerts(&mut self, origin: CallOrigin) {
        self.set_origin(Some(origin));
    }

    /// After it.
    pub(crate) fn end_alerts(&mut self) {
        self.finish_lines();
        self.set_origin(None);
    }

    fn set_origin(&mut self, origin: Option<CallOrigin>) {
        self.origin = origin;
        self.random = Stream::new(&self.plugin, &self.tenant, origin.map(|origin| origin.seq));
    }

    /// Before any call: what was written before is none of its errors.
    pub(crate) fn forget_errors(&mut self) {
        self.finish_lines();
        self.error_tail = ErrorTail::default();
    }

    /// Milliseconds since the Unix epoch: when the first alert of the call was accepted, 0 outside of calls.
    pub(crate) fn now_ms(&self) -> u64 {
        self.origin.map_or(0, |origin| origin.accepted.0)
    }

    pub(crate) fn random(&mut self) -> &mut Stream {
        &mut self.random
    }

    pub(crate) fn write_out(&mut self, bytes: &[u8]) {
        let log = &self.log;
        self.out.write(bytes, |line| log.log(Level::INFO, line));
    }

    pub(crate) fn write_err(&mut self, bytes: &[u8]) {
        let (log, tail) = (&self.log, &mut self.error_tail);
        self.err.write(bytes, |line| {
            log.log(Level::WARN, line);
            tail.add(line);
        });
    }

    /// The last lines that the running call wrote as errors, such as a traceback.
    pub(crate) fn error_text(&self) -> Option<String> {
        self.error_tail.text(&self.err.unfinished())
    }

    fn finish_lines(&mut self) {
        self.write_out(b"\n");
        self.write_err(b"\n");
    }
}

impl Drop for WasiState {
    fn drop(&mut self) {
        self.finish_lines();
    }
}
