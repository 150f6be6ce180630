//! `donjon alert send` and `donjon alert rejudge`.

use serde_json::Value;

use super::client::{Answered, ClientOptions, Method, read_input};
use super::output::{Output, at, clean, print, say};

/// Has alerts judged again that no correlator saw, or that a plugin failed on; with `all` the others, too.
///
/// # Errors
/// When the server refuses the range, or does not come to its end: then the text says how to go on.
pub fn rejudge(client: &ClientOptions, from: u64, to: u64, all: bool) -> anyhow::Result<()> {
    let body = serde_json::json!({"from": from, "to": to, "all": all}).to_string();
    let answer = client.call(
        Method::Post,
        "/alerts/rejudge",
        Some(body.as_bytes()),
        "application/json",
    );
    let answer = answer.map_err(|error| match error.downcast::<Answered>() {
        Ok(answered) => match at(answered.body(), "go_on_from").as_u64() {
            Some(next) => {
                let all = if all { " --all" } else { "" };
                let more = format!("; that is: donjon alert rejudge --from {next} --to {to}{all}");
                answered.adding(&more).into()
            }
            None => answered.into(),
        },
        Err(other) => other,
    })?;
    say(format_args!("judged again: {}", at(&answer, "judged")))
}

/// Sends a body; prints outcomes with `wait`.
///
/// # Errors
/// When the input cannot be read or the server refuses it.
pub fn send(
    client: &ClientOptions,
    file: &str,
    provider: Option<&str>,
    wait: bool,
    output: Output,
) -> anyhow::Result<()> {
    let body = read_input(file)?;
    let provider = provider.map(|name| format!("/{name}")).unwrap_or_default();
    let path = format!("/alerts/event{provider}{}", if wait { "?wait=true" } else { "" });
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let lines = first != Some(&b'[') && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err();
    let kind = if lines {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let answer = client.call(Method::Post, &path, Some(&body), kind)?;
    if wait && at(&answer, "events").is_null() {
        anyhow::bail!(
            "accepted and durable, but not applied within a minute; do not send it again, it will be applied: GET /readyz \
             says whether the line is held"
        );
    }
    if wait || output == Output::Json {
        let rows = at(&answer, "events").as_array().cloned().unwrap_or_default();
        let columns = [
            ("OUTCOME", "outcome"),
            ("FINGERPRINT", "fingerprint"),
            ("INCIDENTS", "incidents"),
            ("REASON", "reason"),
        ];
        print(&rows, &columns, output, &answer)?;
    } else {
        say("accepted")?;
    }
    for bad in at(&answer, "invalid").as_array().map(Vec::as_slice).unwrap_or_default() {
        eprintln!(
            "item {} was kept as a refused item: {}",
            at(bad, "index"),
            clean(at(bad, "reason").as_str().unwrap_or_default())
        );
    }
    let refused = |event: &Value| at(event, "outcome") == "invalid";
    let any = at(&answer, "invalid_count").as_u64().unwrap_or(0) > 0
        || at(&answer, "events")
            .as_array()
            .is_some_and(|events| events.iter().any(refused));
    if any {
        return Err(
            super::wrong_input::WrongInput("some items were refused; see GET /alerts/event/error".into()).into(),
        );
    }
    Ok(())
}
