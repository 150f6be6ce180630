//! Tables for people, JSON for programs.

use std::io::IsTerminal;

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

/// Prints a list of objects; a column is its title and the path of its value.
pub fn print(rows: &[Value], columns: &[(&str, &str)], output: Output, whole: &Value) {
    if output == Output::Json {
        println!("{whole:#}");
        return;
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
    println!("{table}");
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
