//! Output in pieces becomes lines: for the log, and the last ones for who asks why a call broke. Knows no log.

use std::collections::VecDeque;

use donjon_core::limits::MAX_ERROR_TEXT_BYTES;

/// Most that is kept of what a call wrote as errors, in bytes.
const ERROR_TAIL_BYTES: usize = 768;
const _: () = assert!(
    ERROR_TAIL_BYTES + 128 <= MAX_ERROR_TEXT_BYTES,
    "there is room for the trap before it: the last line of a traceback says what was wrong"
);

/// Stands between lines where they are shown as one.
const BETWEEN_LINES: &str = " | ";
/// Stands for lines that were left out.
const LEFT_OUT: &str = "...";

/// The beginning of a line, until its end comes.
pub(crate) struct Lines {
    pending: Vec<u8>,
    /// A longer line becomes several.
    line_bytes: usize,
}

impl Lines {
    pub(crate) fn of_at_most(line_bytes: usize) -> Lines {
        Lines {
            pending: Vec::new(),
            line_bytes: line_bytes.max(4),
        }
    }

    /// Takes bytes, and hands on each line that they complete; empty ones are left out.
    pub(crate) fn write(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            for piece in text.chunks(self.line_bytes) {
                self.pending.extend_from_slice(piece);
                while self.pending.len() > self.line_bytes {
                    let rest = self.pending.split_off(whole_characters(&self.pending, self.line_bytes));
                    self.emit(&mut on_line);
                    self.pending = rest;
                }
            }
            if ends {
                self.emit(&mut on_line);
            }
        }
    }

    fn emit(&mut self, on_line: &mut impl FnMut(&str)) {
        let line = self.unfinished();
        self.pending.clear();
        if !line.is_empty() {
            on_line(&line);
        }
    }

    /// What has come of a line whose end has not.
    pub(crate) fn unfinished(&self) -> String {
        String::from_utf8_lossy(&self.pending).trim_end().to_owned()
    }
}

/// Where to cut so that no character is: at most `most`, at least 1.
fn whole_characters(bytes: &[u8], most: usize) -> usize {
    let is_start = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    (most.saturating_sub(3)..=most)
        .rev()
        .find(is_start)
        .unwrap_or(most)
        .max(1)
}

/// The last lines of many, within a limit.
#[derive(Default)]
pub(crate) struct ErrorTail {
    lines: VecDeque<String>,
    bytes: usize,
    left_out: bool,
}

impl ErrorTail {
    pub(crate) fn add(&mut self, line: &str) {
        let line = line.trim();
        // Marks under a line of source point nowhere once lines are joined.
        if !line.chars().any(char::is_alphanumeric) {
            return;
        }
        let kept = donjon_core::limits::cut(line, ERROR_TAIL_BYTES / 2);
        self.bytes += kept.len() + BETWEEN_LINES.len();
        self.lines.push_back(kept.to_owned());
        while self.bytes > ERROR_TAIL_BYTES {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.len() + BETWEEN_LINES.len();
            self.left_out = true;
        }
    }

    /// As one line, with one that is not complete yet.
    pub(crate) fn text(&self, unfinished: &str) -> Option<String> {
        let mut all = ErrorTail {
            lines: self.lines.clone(),
            ..*self
        };
        all.add(unfinished);
        if all.lines.is_empty() {
            return None;
        }
        let before = all.left_out.then_some(LEFT_OUT).into_iter();
        let lines: Vec<&str> = before.chain(all.lines.iter().map(String::as_str)).collect();
        Some(lines.join(BETWEEN_LINES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(line_bytes: usize, pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut said) = (Lines::of_at_most(line_bytes), Vec::new());
        for piece in pieces {
            lines.write(piece, |line| said.push(line.to_owned()));
        }
        said
    }

    #[test]
    fn output_in_pieces_becomes_whole_lines() {
        assert_eq!(
            lines(99, &[b"Trace", b"back\n", b"\n  File", b" \"a\"\r\nend"]),
            ["Traceback", "  File \"a\""]
        );
    }

    #[test]
    fn a_line_without_an_end_becomes_several_and_no_character_is_cut() {
        let long = "ü".repeat(10);
        let said = lines(5, &[long.as_bytes(), b"\n"]);
        assert_eq!(said.concat(), long);
        assert!(said.iter().all(|line| line.len() <= 5), "{said:?}");
        let said = lines(4, &[&[0x80; 9], b"\n"]);
        assert_eq!(said.concat().chars().count(), 9, "rubbish is shown as such: {said:?}");
    }

    #[test]
    fn of_many_error_lines_the_last_are_kept_and_the_rest_is_said_to_be_missing() {
        let mut tail = ErrorTail::default();
        assert_eq!(tail.text(""), None);
        tail.add("  File \"a.py\", line 3");
        tail.add("    ~~~^^^");
        assert_eq!(tail.text("KeyError: 7").unwrap(), "File \"a.py\", line 3 | KeyError: 7");
        for number in 0..1_000 {
            tail.add(&format!("line {number} {}", "x".repeat(100)));
        }
        let text = tail.text("the end").unwrap();
        assert!(
            text.starts_with("... | line 99") && text.ends_with(" | the end"),
            "{text}"
        );
        assert!(text.len() <= ERROR_TAIL_BYTES + 16, "{}", text.len());
    }
}
