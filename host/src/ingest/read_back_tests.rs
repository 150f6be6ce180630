//! What is applied live is what a replay applies: an alert that was taken reads back from its document as the same alert
//! with the same digest, whatever a sender put into it.

use std::cell::Cell;

use donjon_core::digest::content_digest;
use donjon_core::{Object, Timestamp, Value};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::providers::{Place, Provider};
use super::{Origin, new_alert, normalise};
use crate::intake::NewAlert;
use crate::json;

const NOW: Timestamp = Timestamp(1_764_000_000_000);

/// Every field that somebody gives a meaning, and some that nobody does.
const FIELDS: [&str; 50] = [
    "id",
    "name",
    "status",
    "severity",
    "lastReceived",
    "source",
    "environment",
    "service",
    "message",
    "description",
    "description_format",
    "note",
    "assignee",
    "assignees",
    "imageUrl",
    "imageURL",
    "startedAt",
    "providerId",
    "providerType",
    "fingerprint",
    "labels",
    "annotations",
    "url",
    "deleted",
    "deletedAt",
    "dismissed",
    "dismissUntil",
    "event_id",
    "firingCounter",
    "unresolvedCounter",
    "firingStartTime",
    "firingStartTimeSinceLastResolved",
    "isFullDuplicate",
    "isPartialDuplicate",
    "duplicateReason",
    "pushed",
    "alert_hash",
    "enriched_fields",
    "apiKeyRef",
    "startsAt",
    "endsAt",
    "state",
    "generatorURL",
    "title",
    "ruleId",
    "tags",
    "values",
    "evalMatches",
    "own",
    "a\0b",
];

const TEXTS: [&str; 22] = [
    "",
    "me",
    "\0",
    "a\0b",
    " ",
    "true",
    "False",
    "forever",
    "markdown",
    "firing",
    "RESOLVED",
    "critical",
    "5",
    "keep",
    "2026-11-21T00:00:00.000Z",
    "2026-11-21T01:00:00+01:00",
    "1764000000.5",
    "9999-12-31T23:59:59.999Z",
    "0001-01-01T00:00:00Z",
    " example.org/a b%zz%20%2",
    "http://h/ü?[x]#%",
    "\u{1f525}\u{7f}\"\\\n",
];

/// A time that is drawn for `lastReceived` and as a key, so that the two meet.
const MET: &str = "2026-11-21T00:00:00.000Z";

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(&TEXTS[..]).prop_map(Value::text),
        1 => any::<String>().prop_map(Value::text),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => prop_oneof![-1i64..10, any::<i64>()].prop_map(Value::Int),
        1 => prop_oneof![-10.0..10.0f64, prop::num::f64::NORMAL, prop::num::f64::ZERO, Just(1_764_000_000.25)]
            .prop_map(Value::Float),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(&FIELDS[..]).prop_map(str::to_owned),
        2 => Just(MET.to_owned()),
        2 => prop::sample::select(&["alertname", "severity", "job", "service"][..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec((name(), inner), 0..4).prop_map(object),
        ]
    })
}

/// Names may be there twice: the text is a sender's.
fn object(members: Vec<(String, Value)>) -> Value {
    let mut object = Object::new();
    for (name, value) in members {
        object.push(name, value);
    }
    Value::Object(object)
}

/// Members that make it likely that the alert is taken, and that its odd fields do something.
fn member() -> impl Strategy<Value = (String, Value)> {
    let of = |field: &'static str, value: BoxedStrategy<Value>| value.prop_map(move |value| (field.to_owned(), value));
    let met = || Just(Value::text(MET)).boxed();
    let by_time = value().prop_map(|value| object(vec![(MET.to_owned(), value)])).boxed();
    let labels = prop::collection::vec((name(), scalar()), 0..4).prop_map(object).boxed();
    prop_oneof![
        3 => of("lastReceived", met()),
        2 => of("assignees", by_time),
        1 => of("deleted", prop::collection::vec(scalar(), 0..3).prop_map(Value::List).boxed()),
        2 => of("labels", labels),
        4 => (prop::sample::select(&FIELDS[..]).prop_map(str::to_owned), scalar()),
        1 => (name(), value()),
    ]
}

fn check(new: &NewAlert, provider: &str) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(&new.document).into_owned();
    let Ok(Value::Object(attributes)) = json::parse_bytes(&new.document) else {
        return Err(TestCaseError::fail(format!("no object: {shown}")));
    };
    let again = normalise::reread(attributes, provider, new.alert.id_generated);
    let again = again.map_err(|error| TestCaseError::fail(format!("{error}: {shown}")))?;
    prop_assert_eq!(content_digest(&again.attributes, again.id_generated), new.digest);
    prop_assert_eq!(&again, &new.alert);
    Ok(())
}

#[test]
fn an_alert_that_was_taken_reads_back_as_the_same_alert() {
    let (taken, assigned) = (Cell::new(0), Cell::new(0));
    let providers = [
        (Provider::Keep, Place::Alone),
        (Provider::Alertmanager, Place::InList),
        (Provider::PrometheusV2, Place::Alone),
        (Provider::Grafana, Place::InList),
        (Provider::Grafana, Place::Alone),
    ];
    let fingerprints = prop::option::weighted(0.3, prop::sample::select(&TEXTS[..]));
    let members = prop::collection::vec(member(), 0..8);
    let mut runner = TestRunner::new(Config {
        cases: 6000,
        failure_persistence: None,
        ..Config::default()
    });
    let cases = (prop::sample::select(providers.to_vec()), fingerprints, members);
    let outcome = runner.run(&cases, |((provider, place), fingerprint, members)| {
        let text = json::to_text(&object(members));
        let origin = Origin {
            provider_name: provider.as_str().to_owned(),
            provider,
            fingerprint: fingerprint.map(str::to_owned),
            api_key_name: String::new(),
            now: NOW,
        };
        let Ok(new) = new_alert(&text, place, &origin) else {
            return Ok(());
        };
        taken.set(taken.get() + 1);
        assigned.set(assigned.get() + u32::from(new.alert.attributes.get("assignee").is_some()));
        check(&new, provider.as_str())
    });
    outcome.unwrap();
    let (taken, assigned) = (taken.get(), assigned.get());
    assert!(taken > 1000 && assigned > 50, "{taken} were taken, {assigned} assigned");
}

#[test]
fn an_assignee_for_the_time_of_an_alert_is_text_or_refuses_the_alert() {
    let origin = Origin {
        provider_name: String::new(),
        provider: Provider::Keep,
        fingerprint: Some("f\0g".to_owned()),
        api_key_name: String::new(),
        now: NOW,
    };
    let take = |assignee: &str| {
        let text = format!(r#"{{"name":"x","lastReceived":"{MET}","assignees":{{"{MET}":{assignee}}}}}"#);
        new_alert(&text, Place::Alone, &origin)
    };
    let refused = take(r#"{"who":"me"}"#).unwrap_err();
    assert!(refused.contains("field assignee"), "{refused}");
    let new = take("5").unwrap();
    assert_eq!(new.alert.attributes.get("assignee"), Some(&Value::text("5")));
    assert_eq!(new.alert.fingerprint.as_str(), "fg", "no NUL is stored");
    check(&new, "").unwrap();
}
