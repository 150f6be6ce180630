//! Names the groups of an alert. Only called for alerts that match.

use std::collections::HashSet;

use donjon_plugin::{Alert, Column, GroupValue, OnMissingGroup, Value};
use serde_json::{Map, Value as Json};

use crate::columns::{Place, Row};
use crate::rule_set::{CompiledRule, Grouping};

/// The group of alerts that have no value to group by.
const NONE: &str = "none";

/// The entries of the attribute that multi-level rules look into, read once an alert however many rules there are.
#[derive(Default)]
pub(crate) struct Entries {
    of: Option<(Place, Option<Map<String, Json>>)>,
}

impl Entries {
    /// Before another alert.
    pub(crate) fn clear(&mut self) {
        self.of = None;
    }

    /// The entries at a place; none if no object is there.
    fn at(&mut self, place: Place, value: Value<'_>) -> Option<&Map<String, Json>> {
        if self.of.as_ref().is_none_or(|(known, _)| *known != place) {
            let entries = match value {
                Value::Json(json) => serde_json::from_str(json).ok(),
                _ => None,
            };
            self.of = Some((place, entries));
        }
        self.of.as_ref().and_then(|(_, entries)| entries.as_ref())
    }
}

/// The groups of an alert under a rule that matches it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// One, named by this.
    One(&'static str),
    /// One, named by the values at the places of the grouping: see [`group_value`].
    Values,
    /// One for each of these; none if the rule does not apply to the alert.
    Each(Vec<String>),
}

/// The groups of an alert, never more than `most`.
pub(crate) fn groups(
    rule: &CompiledRule,
    places: &[Place],
    row: &Row<'_>,
    entries: &mut Entries,
    most: usize,
) -> Groups {
    if places.iter().any(|place| row.value(*place).is_null()) {
        return match rule.on_missing {
            OnMissingGroup::None => Groups::One(NONE),
            OnMissingGroup::Skip => Groups::Each(Vec::new()),
        };
    }
    match &rule.grouping {
        Grouping::One => Groups::One(NONE),
        Grouping::Paths(_) => Groups::Values,
        Grouping::MultiLevel { property, .. } => {
            let place = places.first().copied().flatten();
            let entries = entries.at(place, row.value(place));
            entries.map_or(Groups::One(NONE), |entries| {
                Groups::Each(distinct(entries, property, most))
            })
        }
    }
}

/// One group for each distinct value of a property of the entries, in the order of their appearance. Entries without it
/// are passed over; if all are, the alert is in no group.
fn distinct(entries: &Map<String, Json>, property: &str, most: usize) -> Vec<String> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut keys: Vec<String> = Vec::new();
    let values = entries.values().filter_map(|entry| entry.get(property));
    for value in values.filter(|value| !value.is_null()) {
        if keys.len() == most {
            break;
        }
        let key = json_key_text(value);
        if seen.insert(key.clone()) {
            keys.push(key);
        }
    }
    keys
}

/// What a value is grouped by: texts as they are, and by their id; lists joined, anything else as JSON.
pub(crate) fn group_value(alert: Alert<'_>, column: Column) -> GroupValue<'_> {
    if let Some(id) = alert.text_id_at(column) {
        return id.into();
    }
    let own = |value: Json| GroupValue::from(value.to_string());
    match alert.value_at(column) {
        Value::Null => NONE.into(),
        Value::Bool(value) => own(value.into()),
        Value::Int(value) => own(value.into()),
        Value::Float(value) => own(value.into()),
        Value::Json(json) if json.starts_with('[') => {
            serde_json::from_str(json).map_or_else(|_| json.into(), |value| json_key_text(&value).into())
        }
        Value::Json(text) | Value::Text(text) => text.into(),
    }
}

fn json_key_text(value: &Json) -> String {
    let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Json::Array(elements) => elements.iter().map(plain).collect::<Vec<_>>().join(","),
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use donjon_plugin::{Batch, Findings, testing};

    use super::*;
    use crate::rule_set::RuleSet;

    /// The groups of one alert, by the rule as the operator writes it.
    fn keys(
        group_by: &[&str],
        property: &str,
        on_missing: OnMissingGroup,
        batch: &Batch,
        most: usize,
    ) -> Vec<Vec<String>> {
        let mut rule_set = RuleSet::default();
        let settings = if property.is_empty() {
            "{}".to_owned()
        } else {
            format!(r#"{{"multiLevelProperty":"{property}"}}"#)
        };
        let rule = donjon_plugin::Rule {
            condition: "true".into(),
            group_by: group_by.iter().map(|path| (*path).to_owned()).collect(),
            on_missing_group: on_missing,
            settings,
            ..donjon_plugin::Rule::default()
        };
        rule_set.change(vec![rule], &[0]);
        let rule = &rule_set.rules[0];
        let places: Vec<Place> = rule.grouping.paths().iter().map(|path| batch.column(path)).collect();
        let alert = batch.alerts().next().unwrap();
        let mut row = Row::new(batch);
        row.read(alert, None);
        let mut findings = Findings::new();
        match groups(rule, &places, &row, &mut Entries::default(), most) {
            Groups::One(value) => return vec![vec![value.to_owned()]],
            Groups::Each(values) => return values.into_iter().map(|value| vec![value]).collect(),
            Groups::Values => {
                let values = places.iter().flatten().map(|column| group_value(alert, *column));
                findings.verdict(&alert, 0).group(values);
            }
        }
        findings
            .verdicts(batch)
            .into_iter()
            .map(|verdict| verdict.group)
            .collect()
    }

    fn of(value: Value<'_>) -> Batch {
        testing::batch().columns(["a"]).alert([("a", value)]).build()
    }

    #[test]
    fn each_kind_of_value_has_its_text() {
        let cases: [(Value, &str); 11] = [
            ("eu".into(), "eu"),
            ("".into(), ""),
            (Value::Int(5), "5"),
            (Value::Int(-9), "-9"),
            (Value::Float(1.5), "1.5"),
            (Value::Bool(true), "true"),
            (Value::Json(r#"["a","b,c"]"#), "a,b,c"),
            (Value::Json(r#"["a",5,true,null,{"x":1}]"#), r#"a,5,true,null,{"x":1}"#),
            (Value::Json("[]"), ""),
            (Value::Json(r#"{"b":1,"a":"x"}"#), r#"{"b":1,"a":"x"}"#),
            (Value::Json("[cut off"), "[cut off"),
        ];
        for (value, text) in cases {
            assert_eq!(
                keys(&["a"], "", OnMissingGroup::None, &of(value), 9),
                [[text]],
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_text_goes_back_without_a_copy() {
        let batch = of("eu".into());
        let value = group_value(batch.alerts().next().unwrap(), batch.column("a").unwrap());
        assert!(matches!(value, GroupValue::OfBatch(_)), "{value:?}");
    }

    #[test]
    fn a_missing_value_decides_for_the_whole_key() {
        let full = testing::batch()
            .alert([("a", Value::from("x")), ("b", 1.into())])
            .build();
        let missing = testing::batch().columns(["a", "b"]).alert([("a", "x")]).build();
        let by_both = |on_missing, batch| keys(&["a", "b"], "", on_missing, batch, 9);
        assert_eq!(by_both(OnMissingGroup::Skip, &full), [["x", "1"]]);
        assert_eq!(by_both(OnMissingGroup::None, &missing), [["none"]]);
        assert_eq!(by_both(OnMissingGroup::Skip, &missing), Vec::<Vec<String>>::new());
        let not_handed_over = keys(&["a", "c"], "", OnMissingGroup::None, &full, 9);
        assert_eq!(not_handed_over, [["none"]]);
    }

    #[test]
    fn without_paths_there_is_one_group() {
        for on_missing in [OnMissingGroup::None, OnMissingGroup::Skip] {
            assert_eq!(keys(&[], "", on_missing, &of(Value::Null), 9), [["none"]]);
        }
    }

    #[test]
    fn multi_level_gives_one_group_a_distinct_value() {
        let cases: [(Value, &[&str]); 7] = [
            (
                Value::Json(r#"{"2":{"name":"globex"},"1":{"name":"acme"}}"#),
                &["globex", "acme"],
            ),
            (
                Value::Json(r#"{"1":{"name":"acme"},"2":{"name":"acme"},"3":{"id":3},"4":{"name":null}}"#),
                &["acme"],
            ),
            (
                Value::Json(r#"{"1":{"name":5},"2":{"name":["a","b"]},"3":7}"#),
                &["5", "a,b"],
            ),
            (Value::Json("{}"), &[]),
            (Value::Json("[1]"), &["none"]),
            ("text".into(), &["none"]),
            (Value::Null, &["none"]),
        ];
        for (value, expected) in cases {
            let keys = keys(&["a"], "name", OnMissingGroup::None, &of(value), 9);
            assert_eq!(keys.concat(), expected, "{value:?}");
        }
        assert!(keys(&["a"], "name", OnMissingGroup::Skip, &of(Value::Null), 9).is_empty());
    }

    #[test]
    fn a_thousand_entries_give_no_more_groups_than_asked_for() {
        let entry = |at: usize| format!(r#""{at}":{{"name":"n{}"}}"#, at / 2);
        let text = format!("{{{}}}", (0..1_024).map(entry).collect::<Vec<_>>().join(","));
        let batch = of(Value::Json(&text));
        let keys = |most| keys(&["a"], "name", OnMissingGroup::None, &batch, most);
        assert_eq!(keys(usize::MAX).len(), 512);
        assert_eq!(keys(65).len(), 65);
        assert_eq!(keys(65)[64], ["n64"]);
    }
}
