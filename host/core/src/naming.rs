//! Names of incidents: templates with `{{ placeholders }}`, prefixes and multi-level labels. Knows nothing of where the
//! values come from.

use crate::incident::PlaceholderValues;
use crate::limits::{
    MAX_INCIDENT_NAME_BYTES, MAX_NAME_PLACEHOLDERS, MAX_NAME_VALUE_BYTES, MAX_NAME_VALUES, MAX_PATH_KEYS, cut,
};
use crate::value::{JsonText, Object, Value, split_path};

/// What stands for an absent value.
const ABSENT: &str = "N/A";

/// A parsed naming template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Vec<String>),
}

impl Template {
    /// Reads a template. What is not a placeholder is text: there is no invalid template. Neither is a placeholder what
    /// goes over a limit: rules that are posted are refused with it (`over_limit`), older ones keep their text.
    #[must_use]
    pub fn parse(text: &str) -> Template {
        let mut parts = Vec::new();
        let (mut rest, mut placeholders) = (text, 0);
        while placeholders < MAX_NAME_PLACEHOLDERS
            && let Some((before, path, after)) = next_placeholder(rest)
        {
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Placeholder(placeholder_keys(path)));
            placeholders += 1;
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Template { parts }
    }

    /// Which limit a template goes over, if any.
    #[must_use]
    pub fn over_limit(text: &str) -> Option<String> {
        let (mut rest, mut placeholders) = (text, 0);
        while let Some((_, path, after)) = next_placeholder(rest) {
            if placeholder_keys(path).len() > MAX_PATH_KEYS {
                return Some(format!(
                    "has a placeholder with more keys than the limit: {MAX_PATH_KEYS}"
                ));
            }
            placeholders += 1;
            rest = after;
        }
        (placeholders > MAX_NAME_PLACEHOLDERS)
            .then(|| format!("has more placeholders than the limit of {MAX_NAME_PLACEHOLDERS}: {placeholders}"))
    }

    /// The values of its placeholders for one alert, in order.
    #[must_use]
    pub fn values(&self, attributes: &Object, json_text: JsonText) -> Vec<String> {
        let placeholders = self.parts.iter().filter_map(|part| match part {
            Part::Placeholder(path) => Some(path),
            Part::Text(_) => None,
        });
        placeholders
            .map(|path| plain_text(attributes.at(path), json_text))
            .collect()
    }

    /// The number of placeholders.
    #[must_use]
    pub fn placeholders(&self) -> usize {
        self.parts
            .iter()
            .filter(|part| matches!(part, Part::Placeholder(_)))
            .count()
    }

    /// The text with the values of all members put in literally, joined with `,`.
    #[must_use]
    pub fn render(&self, values: &[PlaceholderValues]) -> String {
        let mut values = values.iter();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Placeholder(_) => {
                    let seen = values.next().map(|seen| seen.0.as_slice()).unwrap_or_default();
                    let seen: Vec<&str> = seen.iter().map(|(value, _)| value.as_str()).collect();
                    text.push_str(&if seen.is_empty() {
                        ABSENT.to_owned()
                    } else {
                        seen.join(",")
                    });
                }
            }
        }
        text
    }
}

fn placeholder_keys(path: &str) -> Vec<String> {
    let path = path.trim();
    let path = path.strip_prefix("alert.").unwrap_or(path);
    split_path(path).iter().map(|key| key.trim().to_owned()).collect()
}

/// The text before the first `{{ path }}`, the path, and the text after it.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text.get(from..)?.find("{{").map(|at| at + from) {
        let inside = text.get(open + 2..)?;
        let close = inside.find('}')?;
        let path = inside.get(..close)?;
        if close > 0 && inside.get(close..)?.starts_with("}}") {
            return Some((text.get(..open)?, path, inside.get(close + 2..)?));
        }
        from = open + 2;
    }
    None
}

/// A value as people read it: text as it is, lists joined with `,`, objects as JSON. Ends at the limit, however long the
/// value is.
#[must_use]
pub fn plain_text(value: Option<&Value>, json_text: JsonText) -> String {
    match value {
        None | Some(Value::Null) => ABSENT.to_owned(),
        Some(Value::Text(text)) => cut(text, MAX_NAME_VALUE_BYTES).to_owned(),
        Some(Value::List(list)) => {
            let mut joined = String::new();
            for (at, item) in list.iter().enumerate() {
                if joined.len() > MAX_NAME_VALUE_BYTES {
                    break;
                }
                if at > 0 {
                    joined.push(',');
                }
                joined.push_str(&plain_text(Some(item), json_text));
            }
            cut(&joined, MAX_NAME_VALUE_BYTES).to_owned()
        }
        Some(other) => cut(&json_text(other, MAX_NAME_VALUE_BYTES), MAX_NAME_VALUE_BYTES).to_owned(),
    }
}

impl PlaceholderValues {
    /// One more member has this value.
    pub fn add(&mut self, value: &str) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| known == value) {
            *count += 1;
        } else if self.0.len() < MAX_NAME_VALUES {
            self.0.push((value.to_owned(), 1));
        }
    }

    /// One member less has this value.
    pub fn remove(&mut self, value: &str) {
        if let Some(at) = self.0.iter().position(|(known, _)| known == value)
            && let Some((_, count)) = self.0.get_mut(at)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(at);
            }
        }
    }
}

/// The whole name: prefix and running number, multi-level label, then the rendered template or the rule's name.
#[must_use]
pub fn full_name(base: &str, label: Option<&str>, prefix: Option<&str>, running_number: u64) -> String {
    let labelled = match label {
        Some(label) => format!("{label} - {base}"),
        None => base.to_owned(),
    };
    let name = match prefix {
        Some(prefix) if !prefix.is_empty() => format!("{prefix}-{running_number} - {labelled}"),
        _ => labelled,
    };
    cut(&name, MAX_INCIDENT_NAME_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Labels = Vec<(&'static str, Value)>;

    fn rendered(template: &str, members: Vec<Labels>) -> String {
        let template = Template::parse(template);
        let mut values = vec![PlaceholderValues::default(); template.placeholders()];
        for member in members {
            let labels: Object = member.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let attributes: Object = [("labels".to_owned(), Value::Object(labels))].into_iter().collect();
            for (seen, value) in values
                .iter_mut()
                .zip(template.values(&attributes, |v, _| format!("{v:?}")))
            {
                seen.add(&value);
            }
        }
        template.render(&values)
    }

    #[test]
    fn templates_take_values_literally_and_one_set_each() {
        let text = |text: &str| Value::text(text);
        let host = |name: &str| vec![("host", text(name))];
        let check = |template: &str, members: Vec<Labels>, expected: &str| {
            assert_eq!(rendered(template, members), expected, "{template}");
        };
        check("plain", vec![vec![]], "plain");
        check(
            "on {{ alert.labels.host }}!",
            vec![host("w1"), host("w2"), host("w1")],
            "on w1,w2!",
        );
        let equal = vec![("a", text("x")), ("b", text("x"))];
        check("{{labels.a}} and {{labels.b}}", vec![equal.clone(), equal], "x and x");
        check("{{ labels.myalert.x }}", vec![vec![]], "N/A");
        check(
            "{{ alert.labels.host }}",
            vec![vec![("host", Value::List(vec![text("a"), text("b")]))]],
            "a,b",
        );
        check("{{ alert.labels.host }}", vec![host(r"C:\1\g<0>")], r"C:\1\g<0>");
        check(
            "{{ broken } and {{}} and {{ labels.host }}",
            vec![host("1")],
            "{{ broken } and {{}} and 1",
        );
    }

    #[test]
    fn naming_prints_no_more_of_a_value_than_it_keeps() {
        let asked = |value: &Value, most: usize| {
            assert_eq!(most, MAX_NAME_VALUE_BYTES);
            format!("{value:?}")
        };
        let text = |text: &str| Value::text(text);
        // Printing stops long before the end: what comes then would be no value of a name.
        let never = |_: &Value, _: usize| -> String { unreachable!("printed beyond the limit") };
        let mut long = vec![text("abc"); 200];
        long.push(Value::Object(Object::new()));
        let expected = vec!["abc"; 128].join(",");
        assert_eq!(plain_text(Some(&Value::List(long)), never), format!("{expected},"));
        let empty = Value::List(vec![text(""); 10_000]);
        assert_eq!(plain_text(Some(&empty), never), ",".repeat(MAX_NAME_VALUE_BYTES));
        let nested = Value::List(vec![Value::List(vec![text("é"); 1_000]); 3]);
        let all = vec!["é"; 3_000].join(",");
        assert_eq!(plain_text(Some(&nested), never), cut(&all, MAX_NAME_VALUE_BYTES));
        assert_eq!(plain_text(Some(&Value::Int(7)), asked), "Int(7)");
    }

    #[test]
    fn placeholders_over_the_limit_are_refused_and_stay_text_in_old_rules() {
        let many = "{{a}}".repeat(MAX_NAME_PLACEHOLDERS + 1);
        assert!(Template::over_limit(&many).unwrap().ends_with("limit of 16: 17"));
        assert_eq!(Template::over_limit(&"{{a}}".repeat(MAX_NAME_PLACEHOLDERS)), None);
        let deep = format!("{{{{ a{} }}}}", ".b".repeat(MAX_PATH_KEYS));
        assert!(Template::over_limit(&deep).unwrap().contains("more keys"));
        let template = Template::parse(&many);
        assert_eq!(template.placeholders(), MAX_NAME_PLACEHOLDERS);
        let values = vec![PlaceholderValues::default(); MAX_NAME_PLACEHOLDERS];
        assert_eq!(
            template.render(&values),
            format!("{}{{{{a}}}}", "N/A".repeat(MAX_NAME_PLACEHOLDERS))
        );
    }

    #[test]
    fn a_value_that_no_member_has_any_more_leaves_the_name() {
        let mut values = PlaceholderValues::default();
        values.add("a");
        values.add("b");
        values.add("a");
        values.remove("b");
        values.remove("a");
        assert_eq!(values.0, [("a".to_owned(), 1)]);
    }

    #[test]
    fn prefix_and_label_come_first() {
        assert_eq!(full_name("nm", None, Some("OPS"), 1), "OPS-1 - nm");
        assert_eq!(full_name("nm", Some("acme"), None, 1), "acme - nm");
        assert_eq!(full_name("nm", Some("acme"), Some("OPS"), 7), "OPS-7 - acme - nm");
    }
}
