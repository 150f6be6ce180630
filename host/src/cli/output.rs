//! Tables for people, JSON for programs. Texts of senders and plugins reach a terminal as one clean line each; in JSON
//! they stay as they are.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table};
use donjon_core::text::one_line;
use serde_json::Value;

use crate::json;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: what the server answered.
    Json,
}

/// Writes a line to standard output.
///
/// # Errors
/// It cannot be written: the reader may have gone away, the disk may be full.
pub fn say(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context(WRITE)
}

/// Whether an error only says that nobody reads any more (`donjon ... | head`).
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) && error.to_string() == WRITE
}

const WRITE: &str = "write to standard output";

/// Longest text in one cell or line, in bytes; alerts may hold megabytes.
const MAX_TEXT_BYTES: usize = 4096;

/// Longest text in one cell of a table, in characters; all of it is in the JSON.
const MAX_CELL_CHARS: usize = 160;

/// A text from elsewhere, for a terminal.
pub fn clean(text: &str) -> String {
    one_line(text, MAX_TEXT_BYTES)
}

/// Prints a list of objects; a column is its title and the path of its value.
///
/// # Errors
/// As `say`.
pub fn print(rows: &[Value], columns: &[(&str, &str)], output: Output, whole: &Value) -> anyhow::Result<()> {
    if output == Output::Json {
        return say(format_args!("{whole:#}"));
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, path)| shortened(cell(row, path))));
    }
    say(table)
}

/// One long text would make every row of its table as wide.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_CELL_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The value at a dotted path of an answer; null where there is none.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    let keys: Vec<&str> = path.split('.').collect();
    json::at(value, &keys).unwrap_or(&NULL)
}

fn cell(row: &Value, path: &str) -> String {
    match if path.is_empty() { row } else { at(row, path) } {
        Value::Null => "-".to_owned(),
        Value::String(text) => clean(text),
        Value::Array(list) => clean(&list.iter().map(|item| cell(item, "")).collect::<Vec<_>>().join(", ")),
        other => clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_of_a_table_ends_with_a_sign_that_there_is_more() {
        assert_eq!(shortened("é".repeat(MAX_CELL_CHARS)), "é".repeat(MAX_CELL_CHARS));
        assert_eq!(
            shortened("é".repeat(MAX_CELL_CHARS + 1)),
            format!("{}…", "é".repeat(MAX_CELL_CHARS))
        );
    }

    #[test]
    fn texts_from_elsewhere_reach_the_terminal_as_one_clean_line() {
        let row = serde_json::json!({
            "name": "disk\u{1b}[2J full\nlistening on http://evil",
            "tags": ["a\tb", "c"],
            "labels": {"x": "\u{9b}31m"},
            "long": "y".repeat(2 * MAX_TEXT_BYTES),
        });
        assert_eq!(cell(&row, "name"), "disk\\u{1b}[2J full\\nlistening on http://evil");
        assert_eq!(cell(&row, "tags"), "a\\tb, c");
        assert_eq!(cell(&row, "labels"), "{\"x\":\"\\u{9b}31m\"}");
        assert_eq!(
            (cell(&row, "long").len(), cell(&row, "none").as_str()),
            (MAX_TEXT_BYTES, "-")
        );
    }
}
