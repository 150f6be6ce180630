//! Names the groups of an alert. Only called for alerts that match.

use std::collections::HashSet;

use donjon_plugin::{OnMissingGroup, Scalar};
use serde_json::{Map, Value};

use crate::columns::{Place, value_at};
use crate::rule_set::Grouping;

/// The group of alerts that have no value to group by.
const NONE: &str = "none";

/// The entries of the attribute that multi-level rules look into, read once an alert however many rules there are.
#[derive(Default)]
pub(crate) struct Entries {
    of: Option<(Place, Option<Map<String, Value>>)>,
}

impl Entries {
    /// Before another alert.
    pub(crate) fn clear(&mut self) {
        self.of = None;
    }

    /// The entries at a place; none if no object is there.
    fn at(&mut self, place: Place, value: &Scalar) -> Option<&Map<String, Value>> {
        if self.of.as_ref().is_none_or(|(known, _)| *known != place) {
            let entries = match value {
                Scalar::Json(json) => serde_json::from_str(json).ok(),
                _ => None,
            };
            self.of = Some((place, entries));
        }
        self.of.as_ref().and_then(|(_, entries)| entries.as_ref())
    }
}

/// The group keys of an alert, usually one and never more than `most`. None if the rule does not apply to it.
pub(crate) fn group_keys(
    grouping: &Grouping,
    on_missing: OnMissingGroup,
    places: &[Place],
    row: &[Scalar],
    entries: &mut Entries,
    most: usize,
) -> Vec<Vec<String>> {
    let mut values = places.iter().map(|place| value_at(row, *place));
    if values.clone().any(Scalar::is_null) {
        return match on_missing {
            OnMissingGroup::None => none(),
            OnMissingGroup::Skip => Vec::new(),
        };
    }
    match grouping {
        Grouping::One => none(),
        Grouping::Paths(_) => vec![values.map(key_text).collect()],
        Grouping::MultiLevel { property, .. } => {
            let (Some(place), Some(value)) = (places.first(), values.next()) else {
                return none();
            };
            entries
                .at(*place, value)
                .map_or_else(none, |entries| distinct(entries, property, most))
        }
    }
}

fn none() -> Vec<Vec<String>> {
    vec![vec![NONE.to_owned()]]
}

/// One group for each distinct value of a property of the entries, in the order of their appearance. Entries without it
/// are passed over; if all are, the alert is in no group.
fn distinct(entries: &Map<String, Value>, property: &str, most: usize) -> Vec<Vec<String>> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut keys: Vec<Vec<String>> = Vec::new();
    let values = entries.values().filter_map(|entry| entry.get(property));
    for value in values.filter(|value| !value.is_null()) {
        if keys.len() == most {
            break;
        }
        let key = json_key_text(value);
        if seen.insert(key.clone()) {
            keys.push(vec![key]);
        }
    }
    keys
}

/// The text that a value is grouped by: strings as they are, lists joined, anything else as JSON.
fn key_text(value: &Scalar) -> String {
    match value {
        Scalar::Null => NONE.to_owned(),
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Number(value) => Value::from(*value).to_string(),
        Scalar::Text(text) => text.clone(),
        Scalar::Json(json) if json.starts_with('[') => {
            serde_json::from_str(json).map_or_else(|_| json.clone(), |value| json_key_text(&value))
        }
        Scalar::Json(json) => json.clone(),
    }
}

fn json_key_text(value: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(elements) => elements.iter().map(plain).collect::<Vec<_>>().join(","),
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(grouping: &Grouping, on_missing: OnMissingGroup, row: &[Scalar]) -> Vec<Vec<String>> {
        let places: Vec<Place> = (0..).take(grouping.paths().len()).map(Some).collect();
        group_keys(grouping, on_missing, &places, row, &mut Entries::default(), usize::MAX)
    }

    fn json(text: &str) -> Scalar {
        Scalar::Json(text.to_owned())
    }

    #[test]
    fn each_kind_of_value_has_its_text() {
        let cases: [(Scalar, &str); 11] = [
            ("eu".into(), "eu"),
            ("".into(), ""),
            (Scalar::Integer(5), "5"),
            (Scalar::Integer(-9), "-9"),
            (Scalar::Number(1.5), "1.5"),
            (Scalar::Boolean(true), "true"),
            (json(r#"["a","b,c"]"#), "a,b,c"),
            (json(r#"["a",5,true,null,{"x":1}]"#), r#"a,5,true,null,{"x":1}"#),
            (json("[]"), ""),
            (json(r#"{"b":1,"a":"x"}"#), r#"{"b":1,"a":"x"}"#),
            (json("[cut off"), "[cut off"),
        ];
        let grouping = Grouping::Paths(vec!["a".into()]);
        for (value, text) in cases {
            assert_eq!(
                keys(&grouping, OnMissingGroup::None, std::slice::from_ref(&value)),
                [[text]],
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_missing_value_decides_for_the_whole_key() {
        let grouping = Grouping::Paths(vec!["a".into(), "b".into()]);
        let full = ["x".into(), Scalar::Integer(1)];
        let missing = ["x".into(), Scalar::Null];
        assert_eq!(keys(&grouping, OnMissingGroup::Skip, &full), [["x", "1"]]);
        assert_eq!(keys(&grouping, OnMissingGroup::None, &missing), [["none"]]);
        assert_eq!(
            keys(&grouping, OnMissingGroup::Skip, &missing),
            Vec::<Vec<String>>::new()
        );
        assert_eq!(
            group_keys(
                &grouping,
                OnMissingGroup::None,
                &[Some(0), None],
                &full,
                &mut Entries::default(),
                usize::MAX
            ),
            [["none"]],
            "not handed over"
        );
    }

    #[test]
    fn without_paths_there_is_one_group() {
        for on_missing in [OnMissingGroup::None, OnMissingGroup::Skip] {
            assert_eq!(keys(&Grouping::One, on_missing, &[]), [["none"]]);
        }
    }

    #[test]
    fn multi_level_gives_one_group_a_distinct_value() {
        let grouping = Grouping::MultiLevel {
            path: "customers".into(),
            property: "name".into(),
        };
        let cases: [(Scalar, &[&str]); 7] = [
            (
                json(r#"{"2":{"name":"globex"},"1":{"name":"acme"}}"#),
                &["globex", "acme"],
            ),
            (
                json(r#"{"1":{"name":"acme"},"2":{"name":"acme"},"3":{"id":3},"4":{"name":null}}"#),
                &["acme"],
            ),
            (json(r#"{"1":{"name":5},"2":{"name":["a","b"]},"3":7}"#), &["5", "a,b"]),
            (json("{}"), &[]),
            (json("[1]"), &["none"]),
            ("text".into(), &["none"]),
            (Scalar::Null, &["none"]),
        ];
        for (value, expected) in cases {
            let keys = keys(&grouping, OnMissingGroup::None, std::slice::from_ref(&value));
            assert_eq!(keys.concat(), expected, "{value:?}");
        }
        assert!(keys(&grouping, OnMissingGroup::Skip, &[Scalar::Null]).is_empty());
    }

    #[test]
    fn a_thousand_entries_give_no_more_groups_than_asked_for() {
        let entry = |at: usize| format!(r#""{at}":{{"name":"n{}"}}"#, at / 2);
        let text = format!("{{{}}}", (0..1_024).map(entry).collect::<Vec<_>>().join(","));
        let grouping = Grouping::MultiLevel {
            path: "customers".into(),
            property: "name".into(),
        };
        let mut entries = Entries::default();
        let mut keys = |most| {
            group_keys(
                &grouping,
                OnMissingGroup::None,
                &[Some(0)],
                &[json(&text)],
                &mut entries,
                most,
            )
        };
        assert_eq!(keys(usize::MAX).len(), 512);
        assert_eq!(keys(65).len(), 65);
        assert_eq!(keys(65)[64], ["n64"]);
    }
}
