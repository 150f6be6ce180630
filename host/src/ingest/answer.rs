//! What the sender of alerts is answered. Written out item by item: a list of 100,000 outcomes is never a tree. Knows no
//! storage.

use serde::{Serialize, Serializer};

use crate::intake::Applied;

/// Bad items that are named in one answer.
pub(super) const NAMED_INVALID: usize = 100;

/// What is told about one item.
pub struct Told {
    /// The identifier of the alert.
    pub id: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Why it is no alert.
    pub invalid: Option<String>,
}

/// The answer once everything is durable.
#[derive(Serialize)]
pub struct Accepted<'a> {
    task_name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    invalid_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    invalid: Vec<Invalid<'a>>,
}

#[derive(Serialize)]
struct Invalid<'a> {
    index: usize,
    reason: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Tells of everything that was accepted; bad items by their place, the first of them with their reasons.
pub fn accepted<'a>(task_name: &'a str, told: &'a [Told]) -> Accepted<'a> {
    let invalid = || {
        let one = |(index, told): (usize, &'a Told)| {
            let reason = told.invalid.as_deref()?;
            Some(Invalid { index, reason })
        };
        told.iter().enumerate().filter_map(one)
    };
    Accepted {
        task_name,
        invalid_count: invalid().count(),
        invalid: invalid().take(NAMED_INVALID).collect(),
    }
}

/// The answer once everything is applied.
#[derive(Serialize)]
pub struct AllApplied<'a> {
    task_name: &'a str,
    events: Events<'a>,
}

struct Events<'a> {
    told: &'a [Told],
    outcomes: Vec<Option<Applied>>,
}

#[derive(Serialize)]
struct Event<'a> {
    id: Option<&'a str>,
    fingerprint: Option<&'a str>,
    outcome: &'a str,
    reason: Option<&'a str>,
    incidents: Vec<String>,
}

/// Tells what became of each item.
pub fn applied<'a>(task_name: &'a str, told: &'a [Told], outcomes: Vec<Option<Applied>>) -> AllApplied<'a> {
    AllApplied {
        task_name,
        events: Events { told, outcomes },
    }
}

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.told.iter().zip(&self.outcomes).map(event))
    }
}

fn event<'a>((told, outcome): (&'a Told, &'a Option<Applied>)) -> Event<'a> {
    match (outcome, &told.invalid) {
        (
            Some(Applied::Event {
                outcome,
                incidents,
                failure,
            }),
            None,
        ) => Event {
            id: Some(&told.id),
            fingerprint: Some(&told.fingerprint),
            outcome,
            reason: failure.as_deref(),
            incidents: incidents.iter().map(ToString::to_string).collect(),
        },
        (_, invalid) => Event {
            id: None,
            fingerprint: None,
            outcome: "invalid",
            reason: invalid.as_deref(),
            incidents: Vec::new(),
        },
    }
}
