//! Lines that plugins log, kept from flooding the log of the host and from looking like its own lines: each is one clean
//! line, a long one is cut, a flood is counted. One gate a plugin, not an instance: a plugin that traps and is started
//! again has no fresh lines. Does not know where the log goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use donjon_core::text::one_line;
use tracing::Level;

const WINDOW: Duration = Duration::from_secs(1);

pub(crate) struct LogGate {
    plugin: Arc<str>,
    lines_per_window: u32,
    line_bytes: usize,
    window: Mutex<Window>,
}

struct Window {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl LogGate {
    pub(crate) fn new(plugin: Arc<str>, lines_per_window: u32, line_bytes: usize) -> LogGate {
        LogGate {
            plugin,
            lines_per_window,
            line_bytes,
            window: Mutex::new(Window {
                since: Instant::now(),
                lines: 0,
                dropped: 0,
            }),
        }
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (passes, dropped) = window.pass(Instant::now(), self.lines_per_window);
        drop(window);
        self.report(dropped);
        if !passes {
            return;
        }
        let (plugin, line) = (&*self.plugin, one_line(message, self.line_bytes));
        match level {
            Level::TRACE => tracing::trace!(target: "donjon::plugin", plugin, "{line}"),
            Level::DEBUG => tracing::debug!(target: "donjon::plugin", plugin, "{line}"),
            Level::INFO => tracing::info!(target: "donjon::plugin", plugin, "{line}"),
            Level::WARN => tracing::warn!(target: "donjon::plugin", plugin, "{line}"),
            Level::ERROR => tracing::error!(target: "donjon::plugin", plugin, "{line}"),
        }
    }

    fn report(&self, dropped: u64) {
        if dropped > 0 {
            let plugin = &*self.plugin;
            tracing::warn!(target: "donjon::plugin", plugin, dropped, "the plugin logged too much; lines were dropped");
        }
    }
}

impl Drop for LogGate {
    fn drop(&mut self) {
        let window = self.window.get_mut().unwrap_or_else(PoisonError::into_inner);
        let dropped = std::mem::take(&mut window.dropped);
        self.report(dropped);
    }
}

impl Window {
    /// Whether a line may pass now, and how many were dropped in a window that has just ended.
    fn pass(&mut self, now: Instant, lines_per_window: u32) -> (bool, u64) {
        let mut dropped = 0;
        if now.duration_since(self.since) >= WINDOW {
            dropped = std::mem::take(&mut self.dropped);
            self.since = now;
            self.lines = 0;
        }
        if self.lines >= lines_per_window {
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
        let gate = LogGate::new(Arc::from("p"), 2, 100);
        let mut window = gate.window.lock().unwrap();
        let start = window.since;
        assert_eq!(window.pass(start, 2), (true, 0));
        assert_eq!(window.pass(start, 2), (true, 0));
        assert_eq!(window.pass(start, 2), (false, 0));
        assert_eq!(window.pass(start, 2), (false, 0));
        assert_eq!(window.pass(start + WINDOW, 2), (true, 2));
        assert_eq!(window.pass(start + WINDOW * 2, 2), (true, 0));
    }
}
