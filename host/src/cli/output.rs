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

fn cell(row: &Value, path: &str) -> String {
    let value = if path.is_empty() {
        row
    } else {
        path.split('.').fold(row, |value, key| &value[key])
    };
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(|item| cell(item, "")).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
