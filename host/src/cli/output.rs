//! Tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

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
        table.add_row(columns.iter().map(|(_, path)| cell(row, path)));
    }
    say(table)
}

/// The value at a dotted path of an answer; null where there is none.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    path.split('.')
        .fold(value, |value, key| value.get(key).unwrap_or(&NULL))
}

fn cell(row: &Value, path: &str) -> String {
    match if path.is_empty() { row } else { at(row, path) } {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(|item| cell(item, "")).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
