//! `donjon rule list` and `apply`.

use std::path::Path;

use serde_json::Value;

use super::client::{Answered, ClientOptions, Method, read_input};
use super::output::{Output, at, clean, print, say};
use super::wrong_input::WrongInput;

/// Lists rules.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub fn list(client: &ClientOptions, output: Output) -> anyhow::Result<()> {
    let rows = client.list("/rules")?;
    let columns = [
        ("ID", "id"),
        ("NAME", "name"),
        ("VERSION", "version"),
        ("MATCHES", "counters.matches"),
        ("INCIDENTS", "counters.incidents"),
        ("ERRORS", "counters.errors"),
        ("CONDITION", "definition_cel"),
    ];
    print(&rows, &columns, output, &Value::Array(rows.clone()))
}

/// Creates rules that are new by name and replaces those that are known: all in one step, or none.
///
/// # Errors
/// When a file does not parse, a rule is refused (told with its file), or the server cannot be reached.
pub fn apply(client: &ClientOptions, files: &[String]) -> anyhow::Result<()> {
    let (mut rules, mut origins) = (Vec::new(), Vec::new());
    for file in files_of(files)? {
        let text = read_input(&file)?;
        let parsed: Value =
            serde_json::from_slice(&text).map_err(|error| WrongInput(format!("{file} is not JSON: {error}")))?;
        let list = match parsed {
            Value::Array(list) => list,
            one => vec![one],
        };
        for (rule, number) in list.into_iter().zip(1_u32..) {
            let name = at(&rule, "ruleName").as_str().unwrap_or("without a name");
            origins.push(match file.as_str() {
                "-" => format!("standard input, rule {number} ({name})"),
                file => format!("file {file}, rule {number} ({name})"),
            });
            rules.push(rule);
        }
    }
    let body = Value::Array(rules).to_string();
    let answer = client.call(Method::Post, "/rules/apply", Some(body.as_bytes()), "application/json");
    let answer = answer.map_err(|error| match error.downcast::<Answered>() {
        Ok(answered) => answered.naming(|place| origins.get(place).cloned()).into(),
        Err(other) => other,
    })?;
    for rule in at(&answer, "rules").as_array().into_iter().flatten() {
        let text = |field| at(rule, field).as_str().unwrap_or_default();
        say(format_args!(
            "{} {} {}",
            text("outcome"),
            text("id"),
            clean(text("name"))
        ))?;
    }
    Ok(())
}

/// Files as they are, of directories those that end in `.json`, in the order of their names.
fn files_of(named: &[String]) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    for name in named {
        if name == "-" || !Path::new(name).is_dir() {
            files.push(name.clone());
            continue;
        }
        let failed = |error: std::io::Error| WrongInput(format!("read directory {name}: {error}"));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(name).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                inside.push(path.to_string_lossy().into_owned());
            }
        }
        if inside.is_empty() {
            return Err(WrongInput(format!("directory has no .json file: {name}")).into());
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
