//! `donjon rule list` and `apply`.

use anyhow::Context;
use serde_json::Value;

use super::WrongInput;
use super::client::{ClientOptions, Method, read_input};
use super::output::{Output, at, print, say};

/// Lists rules.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub fn list(client: &ClientOptions, output: Output) -> anyhow::Result<()> {
    let answer = client.call(Method::Get, "/rules", None, "")?;
    let rows = answer.as_array().cloned().unwrap_or_default();
    let columns = [
        ("ID", "id"),
        ("NAME", "name"),
        ("VERSION", "version"),
        ("MATCHES", "counters.matches"),
        ("INCIDENTS", "counters.incidents"),
        ("ERRORS", "counters.errors"),
        ("CONDITION", "definition_cel"),
    ];
    print(&rows, &columns, output, &answer)
}

/// Creates rules that are new by name and replaces those that are known. All are checked before the first is stored.
///
/// # Errors
/// When the file does not parse, a rule is refused, or the server cannot be reached.
pub fn apply(client: &ClientOptions, file: &str) -> anyhow::Result<()> {
    let text = read_input(file)?;
    let parsed: Value =
        serde_json::from_slice(&text).map_err(|error| WrongInput(format!("{file} is not JSON: {error}")))?;
    let rules = match parsed {
        Value::Array(rules) => rules,
        one => vec![one],
    };
    for rule in &rules {
        call(client, Method::Post, "/rules/validate", rule)?;
    }
    let known = client.call(Method::Get, "/rules", None, "")?;
    let known = known.as_array().cloned().unwrap_or_default();
    for rule in &rules {
        let name = at(rule, "ruleName");
        match known
            .iter()
            .find(|known| at(known, "name") == name)
            .and_then(|known| at(known, "id").as_str())
        {
            Some(id) => {
                call(client, Method::Put, &format!("/rules/{id}"), &complete(rule))?;
                say(format_args!("replaced {id} {}", name.as_str().unwrap_or_default()))?;
            }
            None => {
                let created = call(client, Method::Post, "/rules", rule)?;
                let id = at(&created, "id").as_str().unwrap_or_default();
                say(format_args!("created {id} {}", name.as_str().unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}

/// A replacement must state what a new rule may leave out: the file is the whole rule, so its defaults are meant.
fn complete(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(fields) = rule.as_object_mut() {
        for (field, default) in [("createOn", "any"), ("resolveOn", "never")] {
            let value = fields.entry(field).or_insert(Value::Null);
            if value.is_null() {
                *value = default.into();
            }
        }
    }
    rule
}

fn call(client: &ClientOptions, method: Method, path: &str, rule: &Value) -> anyhow::Result<Value> {
    let name = at(rule, "ruleName").as_str().unwrap_or("without a name").to_owned();
    client
        .call(method, path, Some(rule.to_string().as_bytes()), "application/json")
        .with_context(|| format!("rule {name}"))
}
