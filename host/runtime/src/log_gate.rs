//! Lines that plugins log, kept from flooding the log of the host: a long line is cut, a flood is counted. Does not know
//! where the log goes.

use std::time::{Duration, Instant};

use donjon_core::limits::cut;
use tracing::Level;

const WINDOW: Duration = Duration::from_secs(1);

pub(crate) struct LogGate {
    lines_per_window: u32,
    line_bytes: usize,
    window: Instant,
    lines: u32,
    dropped: u64,
}

impl LogGate {
    pub(crate) fn new(lines_per_window: u32, line_bytes: usize) -> LogGate {
        LogGate {
            lines_per_window,
            line_bytes,
            window: Instant::now(),
            lines: 0,
            dropped: 0,
        }
    }

    pub(crate) fn log(&mut self, plugin: &str, level: Level, message: &str) {
        let (passes, dropped) = self.pass(Instant::now());
        if dropped > 0 {
            tracing::warn!(target: "donjon::plugin", plugin, dropped, "the plugin logged too much; lines were dropped");
        }
        if !passes {
            return;
        }
        let line = cut(message, self.line_bytes);
        match level {
            Level::TRACE => tracing::trace!(target: "donjon::plugin", plugin, "{line}"),
            Level::DEBUG => tracing::debug!(target: "donjon::plugin", plugin, "{line}"),
            Level::INFO => tracing::info!(target: "donjon::plugin", plugin, "{line}"),
            Level::WARN => tracing::warn!(target: "donjon::plugin", plugin, "{line}"),
            Level::ERROR => tracing::error!(target: "donjon::plugin", plugin, "{line}"),
        }
    }

    /// Whether a line may pass now, and how many were dropped in a window that has just ended.
    fn pass(&mut self, now: Instant) -> (bool, u64) {
        let mut dropped = 0;
        if now.duration_since(self.window) >= WINDOW {
            dropped = std::mem::take(&mut self.dropped);
            self.window = now;
            self.lines = 0;
        }
        if self.lines >= self.lines_per_window {
            self.dropped = self.dropped.saturating_add(1);
            return (false, dropped);
        }
        self.lines += 1;
        (true, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_dropped_and_counted_once_the_second_is_over() {
        let mut gate = LogGate::new(2, 100);
        let start = gate.window;
        assert_eq!(gate.pass(start), (true, 0));
        assert_eq!(gate.pass(start), (true, 0));
        assert_eq!(gate.pass(start), (false, 0));
        assert_eq!(gate.pass(start), (false, 0));
        assert_eq!(gate.pass(start + WINDOW), (true, 2));
        assert_eq!(gate.pass(start + WINDOW * 2), (true, 0));
    }
}
