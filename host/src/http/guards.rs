//! The headers that guard a command: `Idempotency-Key` (apply it once, however often it is sent), `If-Match` and
//! `If-None-Match` (apply it to what I have seen, or not at all). They go into the journal with the command and are
//! judged where it is applied. Knows no command.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use donjon_core::RuleId;
use donjon_core::command::{CommandKey, Condition, Guard, RuleIs};
use sha2::{Digest, Sha256};

use super::error::ApiError;

/// The header that names a request, so that sending it again does nothing.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Most entity tags of one header.
const MAX_TAGS: usize = 16;

/// What the headers of a request say about when its command is applied.
pub struct Guards {
    key: Option<[u8; 32]>,
    /// Method, path and conditions; the body comes last.
    asked: Sha256,
    seen: Seen,
}

/// What the sender has seen of what it changes.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It does not say.
    Unsaid,
    /// It is there.
    Something,
    /// It is not there.
    Nothing,
    /// It had one of these tags. Those that are not of our making match nothing and are left out.
    OneOf(Vec<u64>),
}

impl<S: Send + Sync> FromRequestParts<S> for Guards {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Guards, ApiError> {
        let key = one_header(&parts.headers, IDEMPOTENCY_KEY)?;
        let (matching, none) = (header::IF_MATCH.as_str(), header::IF_NONE_MATCH.as_str());
        let (matching, none) = (one_header(&parts.headers, matching)?, one_header(&parts.headers, none)?);
        let mut asked = Sha256::new();
        let conditions = [matching.unwrap_or_default(), none.unwrap_or_default()];
        for part in [parts.method.as_str(), parts.uri.path()].into_iter().chain(conditions) {
            asked.update(part.len().to_be_bytes());
            asked.update(part.as_bytes());
        }
        Ok(Guards {
            key: key.map(digest_of_key).transpose()?,
            asked,
            seen: seen(matching, none)?,
        })
    }
}

impl Guards {
    /// For a command without conditions.
    ///
    /// # Errors
    /// The request has one, and it would be passed over in silence.
    pub fn once(&self, body: &[u8]) -> Result<Guard, ApiError> {
        match self.seen {
            Seen::Unsaid => Ok(self.guard(body, None)),
            _ => Err(ApiError::bad_request(
                "If-Match and If-None-Match are understood for PUT and DELETE of /rules/{id} and for POST /rules/apply only; \
                 leave them out",
            )),
        }
    }

    /// Whether the request is to create what it names.
    pub fn creates(&self) -> bool {
        self.seen == Seen::Nothing
    }

    /// For a command about one rule.
    pub fn for_rule(&self, rule: &RuleId, body: &[u8]) -> Guard {
        let is = match &self.seen {
            Seen::Unsaid => None,
            Seen::Something => Some(RuleIs::Present),
            Seen::Nothing => Some(RuleIs::Absent),
            Seen::OneOf(tags) => {
                let versions = tags.iter().filter_map(|tag| u32::try_from(*tag).ok());
                Some(RuleIs::OneOf(versions.collect()))
            }
        };
        let id = rule.clone();
        self.guard(body, is.map(|is| Condition::Rule { id, is }))
    }

    /// For a command about all rules.
    ///
    /// # Errors
    /// The condition is none that the list of rules can meet.
    pub fn for_rules(&self, body: &[u8]) -> Result<Guard, ApiError> {
        let condition = match &self.seen {
            Seen::Unsaid | Seen::Something => None,
            // No list has this tag.
            Seen::OneOf(tags) if tags.len() < 2 => {
                Some(Condition::RulesVersion(tags.first().copied().unwrap_or(u64::MAX)))
            }
            Seen::OneOf(_) => {
                return Err(ApiError::bad_request(
                    "If-Match must name one ETag here, that of GET /rules",
                ));
            }
            Seen::Nothing => {
                return Err(ApiError::bad_request(
                    "If-None-Match is not understood here; leave it out",
                ));
            }
        };
        Ok(self.guard(body, condition))
    }

    fn guard(&self, body: &[u8], only_if: Option<Condition>) -> Guard {
        let request = self.asked.clone().chain_update(body).finalize().into();
        Guard {
            once: self.key.map(|key| CommandKey { key, request }),
            only_if,
        }
    }
}

/// A tag of ours as a header.
pub fn entity_tag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// As sent, or between quotes as the draft of the IETF has it.
fn digest_of_key(sent: &str) -> Result<[u8; 32], ApiError> {
    let quoted = sent.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = quoted.unwrap_or(sent);
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err(ApiError::bad_request(format!(
            "Idempotency-Key must be 1 to {MAX_KEY_BYTES} characters long, found: {}",
            key.len()
        )));
    }
    if !key
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    {
        return Err(ApiError::bad_request(
            "Idempotency-Key must be visible ASCII without quotes and backslashes; a UUID will do",
        ));
    }
    Ok(Sha256::digest(key.as_bytes()).into())
}

fn one_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!("header may be given once: {name}")));
    }
    let text = |value: &'a HeaderValue| {
        let text = value.to_str();
        text.map_err(|_| ApiError::bad_request(format!("header must be visible ASCII: {name}")))
    };
    first.map(text).transpose()
}

fn seen(matching: Option<&str>, none: Option<&str>) -> Result<Seen, ApiError> {
    match (matching.map(str::trim), none.map(str::trim)) {
        (None, None) => Ok(Seen::Unsaid),
        (Some(_), Some(_)) => Err(ApiError::bad_request("give If-Match or If-None-Match, not both")),
        (None, Some("*")) => Ok(Seen::Nothing),
        (None, Some(_)) => Err(ApiError::bad_request(
            "If-None-Match must be *, which means: create, and do not replace",
        )),
        (Some("*"), None) => Ok(Seen::Something),
        (Some(list), None) => tags_of(list).map(Seen::OneOf).ok_or_else(|| {
            ApiError::bad_request(format!(
                "If-Match must be * or at most {MAX_TAGS} ETags as they were read, like \"3\" with its quotes"
            ))
        }),
    }
}

/// The tags of a list that can match: strong ones, of our making. None if it is no list of tags.
fn tags_of(list: &str) -> Option<Vec<u64>> {
    let (mut rest, mut tags, mut count) = (list, Vec::new(), 0);
    loop {
        let weak = rest.strip_prefix("W/");
        let (tag, after) = weak.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        count += 1;
        if count > MAX_TAGS {
            return None;
        }
        tags.extend(
            tag.parse::<u64>()
                .ok()
                .filter(|number| weak.is_none() && number.to_string() == tag),
        );
        rest = match after.trim_start() {
            "" => return Some(tags),
            more => more.strip_prefix(',')?.trim_start(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_read_as_the_standard_says() {
        let matching = |text: &str| seen(Some(text), None).ok();
        assert_eq!(matching(" * "), Some(Seen::Something));
        assert_eq!(matching("\"3\""), Some(Seen::OneOf(vec![3])));
        assert_eq!(
            matching("\"3\" , \"4\",W/\"5\""),
            Some(Seen::OneOf(vec![3, 4])),
            "a weak tag never matches"
        );
        assert_eq!(
            matching("\"abc, 1\", \"07\""),
            Some(Seen::OneOf(vec![])),
            "a foreign tag matches nothing"
        );
        for bad in ["", "3", "\"3", "\"3\" \"4\"", "\"3\",", "*,*", &["\"1\""; 17].join(",")] {
            assert_eq!(matching(bad), None, "{bad}");
        }
        assert_eq!(seen(None, Some("*")).ok(), Some(Seen::Nothing));
        assert!(seen(None, Some("\"3\"")).is_err() && seen(Some("*"), Some("*")).is_err());
    }

    #[test]
    fn a_key_is_bounded_and_quotes_are_no_part_of_it() {
        let digest = |text: &str| digest_of_key(text).ok();
        assert!(digest("k").is_some() && digest("k") == digest("\"k\"") && digest("k") != digest("l"));
        assert!(digest(&"k".repeat(255)).is_some());
        for bad in ["", "\"\"", &"k".repeat(256), "a b", "a\"b", "a\\b", "\u{e9}"] {
            assert_eq!(digest(bad), None, "{bad}");
        }
    }
}
