//! The stored form of links, with the explanation that came with them.

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};
use donjon_core::batch::Scalar;
use donjon_core::incident::{Explanation, Link, MemberView};
use donjon_core::{GroupKey, IncidentId, Seq, Timestamp};

use super::{Kind, RecordError, Stored, codes, decode_body, stored, unseal};

stored!(Link, Kind::Link, reads { 1 => LinkV1, 2 => LinkV2 }, writes 2 => LinkV2);

#[derive(Encode, BorrowDecode)]
struct LinkV1<'a> {
    incident: [u8; 16],
    fingerprint: &'a str,
    joined_seq: u64,
    joined: u64,
    explanation: ExplanationV1<'a>,
    name_values: Vec<&'a str>,
    unlinked: Option<u64>,
}

/// With what an incident that let the alert go still counts: status, severity, unresolved counter.
#[derive(Encode, BorrowDecode)]
struct LinkV2<'a> {
    link: LinkV1<'a>,
    let_go: Option<(u8, u8, u32)>,
}

/// A link without its explanation, which is nearly all of it.
pub(crate) struct LinkHead<'a> {
    pub(crate) fingerprint: Cow<'a, str>,
    pub(crate) joined_seq: Seq,
    pub(crate) is_unlinked: bool,
}

/// Reads only that much of a link.
pub(crate) fn head(bytes: &[u8]) -> Result<LinkHead<'_>, RecordError> {
    let (version, body) = unseal(Kind::Link, bytes)?;
    let twin = match version {
        1 => decode_body::<LinkV1<'_>>(Kind::Link, body)?,
        2 => decode_body::<LinkV2<'_>>(Kind::Link, body)?.link,
        _ => {
            let link = Link::from_bytes(bytes)?;
            return Ok(LinkHead {
                fingerprint: Cow::Owned(link.fingerprint.as_str().to_owned()),
                joined_seq: link.joined_seq,
                is_unlinked: link.unlinked.is_some(),
            });
        }
    };
    Ok(LinkHead {
        fingerprint: Cow::Borrowed(twin.fingerprint),
        joined_seq: Seq(twin.joined_seq),
        is_unlinked: twin.unlinked.is_some(),
    })
}

#[derive(Encode, BorrowDecode)]
struct ExplanationV1<'a> {
    rule: &'a str,
    rule_version: u32,
    event_id: &'a str,
    branches: Vec<(u32, &'a str)>,
    group_key: Vec<&'a str>,
    values: Vec<(&'a str, ScalarV1<'a>)>,
    plugin: (&'a str, &'a str),
}

/// Variants are stored by their position: new ones go to the end.
#[derive(Encode, BorrowDecode)]
enum ScalarV1<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Json(&'a str),
}

impl<'a> From<&'a Link> for LinkV1<'a> {
    fn from(link: &'a Link) -> Self {
        LinkV1 {
            incident: link.incident.0,
            fingerprint: link.fingerprint.as_str(),
            joined_seq: link.joined_seq.0,
            joined: link.joined.0,
            explanation: ExplanationV1::from(&link.explanation),
            name_values: link.name_values.iter().map(String::as_str).collect(),
            unlinked: link.unlinked.map(|time| time.0),
        }
    }
}

impl TryFrom<LinkV1<'_>> for Link {
    type Error = RecordError;

    fn try_from(twin: LinkV1<'_>) -> Result<Self, RecordError> {
        Ok(Link {
            incident: IncidentId(twin.incident),
            fingerprint: twin.fingerprint.into(),
            joined_seq: Seq(twin.joined_seq),
            joined: Timestamp(twin.joined),
            explanation: Explanation::from(twin.explanation),
            name_values: twin.name_values.into_iter().map(str::to_owned).collect(),
            unlinked: twin.unlinked.map(Timestamp),
            let_go: None,
        })
    }
}

impl<'a> From<&'a Link> for LinkV2<'a> {
    fn from(link: &'a Link) -> Self {
        let codes = |view: MemberView| {
            let (status, severity) = (codes::status::code(view.status), codes::severity::code(view.severity));
            (status, severity, view.unresolved)
        };
        LinkV2 {
            link: LinkV1::from(link),
            let_go: link.let_go.map(codes),
        }
    }
}

impl TryFrom<LinkV2<'_>> for Link {
    type Error = RecordError;

    fn try_from(twin: LinkV2<'_>) -> Result<Self, RecordError> {
        let view = |(status, severity, unresolved): (u8, u8, u32)| {
            Ok(MemberView {
                status: codes::status::value(status)?,
                severity: codes::severity::value(severity)?,
                unresolved,
            })
        };
        Ok(Link {
            let_go: twin.let_go.map(view).transpose()?,
            ..Link::try_from(twin.link)?
        })
    }
}

impl<'a> From<&'a Explanation> for ExplanationV1<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        ExplanationV1 {
            rule: explanation.rule.as_str(),
            rule_version: explanation.rule_version,
            event_id: explanation.event_id.as_str(),
            branches: explanation
                .branches
                .iter()
                .map(|(branch, text)| (*branch, text.as_str()))
                .collect(),
            group_key: explanation.group_key.values().iter().map(String::as_str).collect(),
            values: explanation
                .values
                .iter()
                .map(|(path, value)| (path.as_str(), ScalarV1::from(value)))
                .collect(),
            plugin: (&explanation.plugin.0, &explanation.plugin.1),
        }
    }
}

impl From<ExplanationV1<'_>> for Explanation {
    fn from(twin: ExplanationV1<'_>) -> Self {
        let values = twin.values.into_iter();
        Explanation {
            rule: twin.rule.into(),
            rule_version: twin.rule_version,
            event_id: twin.event_id.into(),
            branches: twin
                .branches
                .into_iter()
                .map(|(branch, text)| (branch, text.to_owned()))
                .collect(),
            group_key: GroupKey::new(twin.group_key.into_iter().map(str::to_owned).collect()),
            values: values
                .map(|(path, value)| (path.to_owned(), Scalar::from(value)))
                .collect(),
            plugin: (twin.plugin.0.to_owned(), twin.plugin.1.to_owned()),
        }
    }
}

impl<'a> From<&'a Scalar> for ScalarV1<'a> {
    fn from(scalar: &'a Scalar) -> Self {
        match scalar {
            Scalar::Null => ScalarV1::Null,
            Scalar::Bool(value) => ScalarV1::Bool(*value),
            Scalar::Int(value) => ScalarV1::Int(*value),
            Scalar::Float(value) => ScalarV1::Float(*value),
            Scalar::Text(text) => ScalarV1::Text(text),
            Scalar::Json(text) => ScalarV1::Json(text),
        }
    }
}

impl From<ScalarV1<'_>> for Scalar {
    fn from(twin: ScalarV1<'_>) -> Self {
        match twin {
            ScalarV1::Null => Scalar::Null,
            ScalarV1::Bool(value) => Scalar::Bool(value),
            ScalarV1::Int(value) => Scalar::Int(value),
            ScalarV1::Float(value) => Scalar::Float(value),
            ScalarV1::Text(text) => Scalar::Text(text.to_owned()),
            ScalarV1::Json(text) => Scalar::Json(text.to_owned()),
        }
    }
}
