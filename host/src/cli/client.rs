//! The command line's HTTP client. Turns error answers into one readable line.

use std::io::Read;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use ureq::http::StatusCode;

use super::output::{at, clean};
use super::wrong_input::WrongInput;

/// Longest answer that is read: a page ends at `reads.max_answer_bytes` (16 MiB by default) and one item more.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Says where a list goes on that ended before its end.
const NEXT_OFFSET: &str = "x-donjon-next-offset";

/// Which server, and with which key.
#[derive(Args, Clone, Debug)]
pub struct ClientOptions {
    /// The server.
    #[arg(long, env = "DONJON_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The API key.
    #[arg(long, env = "DONJON_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
}

/// The server answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("server answered {status}: {text}")]
pub struct Answered {
    status: StatusCode,
    body: Value,
    text: String,
}

impl Answered {
    fn new(status: StatusCode, body: Value) -> Answered {
        let text = readable(&body, |item| Some(format!("item {item}")));
        Answered { status, body, text }
    }

    /// Whether it is about what was sent. The others are about the server: what was sent may pass later.
    pub fn is_wrong_input(&self) -> bool {
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        self.status.is_client_error() && !later.contains(&self.status)
    }

    /// Says of items by their place in what was sent where they came from.
    pub fn naming(mut self, name: impl Fn(usize) -> Option<String>) -> Answered {
        self.text = readable(&self.body, name);
        self
    }

    /// Says more.
    pub fn adding(mut self, more: &str) -> Answered {
        self.text.push_str(more);
        self
    }

    /// The answer.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// The method of a call.
#[derive(Clone, Copy)]
pub enum Method {
    /// Read.
    Get,
    /// Send.
    Post,
}

impl ClientOptions {
    /// Calls the server; an answer of 400 or more is an error with its text.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses: then it is `Answered`.
    pub fn call(&self, method: Method, path: &str, body: Option<&[u8]>, kind: &str) -> anyhow::Result<Value> {
        Ok(self.exchange(method, path, body, kind)?.0)
    }

    /// A whole list: its pages, one after the other.
    ///
    /// # Errors
    /// As `call`.
    pub fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut next) = (Vec::new(), Some(0));
        while let Some(offset) = next {
            let (page, following) = self.exchange(Method::Get, &format!("{path}?offset={offset}"), None, "")?;
            items.extend(page.as_array().into_iter().flatten().cloned());
            next = following;
            anyhow::ensure!(
                next.is_none_or(|next| next > offset),
                "the list does not go on behind offset {offset}"
            );
        }
        Ok(items)
    }

    /// Calls the server; also answers where a list goes on that ended early.
    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
        kind: &str,
    ) -> anyhow::Result<(Value, Option<u64>)> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let agent = ureq::Agent::new_with_config(config);
        let key = self.api_key.as_deref().unwrap_or_default();
        let body = body.unwrap_or_default();
        let sent = match method {
            Method::Get => agent.get(&url).header("X-API-KEY", key).call(),
            Method::Post => agent
                .post(&url)
                .header("X-API-KEY", key)
                .header("Content-Type", kind)
                .send(body),
        };
        let mut answer = sent.map_err(|error| {
            let text = format!("reach {url}; is the server running? (donjon serve, or --url): {error}");
            anyhow::anyhow!(self.without_password(&text))
        })?;
        let next = answer
            .headers()
            .get(NEXT_OFFSET)
            .and_then(|offset| offset.to_str().ok());
        let next = next.and_then(|offset| offset.parse().ok());
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        let text = body.read_to_string().context("read the answer")?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let status = answer.status();
        if !status.is_success() {
            return Err(Answered::new(status, value).into());
        }
        Ok((value, next))
    }
}

impl ClientOptions {
    /// A text about this server without the name and password of its address.
    fn without_password(&self, text: &str) -> String {
        let authority = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let Some((secret, _)) = authority.rsplit_once('@') else {
            return text.to_owned();
        };
        let text = text.replace(&format!("{secret}@"), "***@");
        match secret.split_once(':') {
            Some((_, password)) if !password.is_empty() => text.replace(password, "***"),
            _ => text,
        }
    }
}

/// The text of an error answer, as one line: it may quote what was sent. Items are named by their place.
fn readable(answer: &Value, name: impl Fn(usize) -> Option<String>) -> String {
    clean(&detail(answer, name))
}

fn detail(answer: &Value, name: impl Fn(usize) -> Option<String>) -> String {
    let one = |fault: &Value| {
        let loc = at(fault, "loc").as_array().map(Vec::as_slice).unwrap_or_default();
        let place = loc.iter().find_map(Value::as_u64);
        let item = place.and_then(|place| name(usize::try_from(place).ok()?));
        let position = match (at(fault, "line").as_u64(), at(fault, "column").as_u64()) {
            (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
            _ => String::new(),
        };
        let field = loc.last().and_then(Value::as_str);
        let field = field.map(|field| format!("{field}{position}"));
        let message = at(fault, "msg").as_str().unwrap_or_default().to_owned();
        let parts: Vec<String> = [item, field, Some(message)].into_iter().flatten().collect();
        parts.join(": ")
    };
    match at(answer, "detail") {
        Value::String(text) => text.clone(),
        Value::Array(faults) => faults.iter().map(one).collect::<Vec<_>>().join("; "),
        _ => answer.to_string(),
    }
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read.
pub fn read_input(file: &str) -> anyhow::Result<Vec<u8>> {
    if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .context("read standard input")?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(|error| WrongInput(format!("read {file}: {error}")).into())
}
