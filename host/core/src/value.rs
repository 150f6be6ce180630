//! The tree of one JSON document, without knowing JSON text: parsing and printing live at the border.

use compact_str::CompactString;

use crate::limits::{MAX_PATH_KEYS, MAX_VALUE_DEPTH};

/// Prints a list or an object as JSON; given by the border, which knows JSON text. It stops once it has more than so many
/// bytes: what is cut anyway need not be printed.
pub type JsonText = fn(&Value, usize) -> String;

/// A JSON value. Numbers keep whether they were whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON null.
    Null,
    /// JSON true or false.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string. Short ones, which most are, take no memory of their own: parsing an alert then asks for memory a few
    /// times and not forty times, and what another thread gives back is dear.
    Text(CompactString),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(Object),
}

/// A JSON object in the order of arrival. Look-up is linear: alerts have few attributes, and order matters to people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(CompactString, Value)>);

impl Object {
    /// An empty object.
    #[must_use]
    pub fn new() -> Object {
        Object::default()
    }

    /// An empty object with room for `capacity` members.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Object {
        Object(Vec::with_capacity(capacity))
    }

    /// The member `key`, null included.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The member `key` to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets a member, in place if it is there.
    pub fn set(&mut self, key: impl Into<CompactString> + AsRef<str>, value: Value) {
        match self.get_mut(key.as_ref()) {
            Some(present) => *present = value,
            None => self.0.push((key.into(), value)),
        }
    }

    /// Appends a member that is known to be absent.
    pub fn push(&mut self, key: impl Into<CompactString>, value: Value) {
        self.0.push((key.into(), value));
    }

    /// Removes a member.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// Removes the members whose names do not pass.
    pub fn retain(&mut self, mut passes: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| passes(name));
    }

    /// Members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Members in order, their values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value at a path of keys; a number also selects an element of a list. `None` for absent and for null.
    #[must_use]
    pub fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.get(first.as_ref())?;
        for key in rest {
            value = match value {
                Value::Object(object) => object.get(key.as_ref())?,
                Value::List(list) => list.get(key.as_ref().parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        (!matches!(value, Value::Null)).then_some(value)
    }

    /// Sets the value at a path of keys, creating objects on the way. Nothing changes unless it is set, but for objects
    /// that were created before something else was in the way. No recursion: a path may be as long as a plugin likes.
    pub fn set_at(&mut self, path: &[String], value: Value) -> SetOutcome {
        let Some((last, before)) = path.split_last() else {
            return SetOutcome::InTheWay;
        };
        if path.len() > MAX_PATH_KEYS || path.len() + value.depth() > MAX_VALUE_DEPTH {
            return SetOutcome::TooDeep;
        }
        let mut object = self;
        for key in before {
            if matches!(object.get(key), None | Some(Value::Null)) {
                object.set(key.clone(), Value::Object(Object::new()));
            }
            match object.get_mut(key) {
                Some(Value::Object(inner)) => object = inner,
                _ => return SetOutcome::InTheWay,
            }
        }
        object.set(last.clone(), value);
        SetOutcome::Set
    }

    /// Removes the value at a path of keys; absent is fine.
    pub fn remove_at(&mut self, path: &[String]) {
        let Some((last, before)) = path.split_last() else {
            return;
        };
        let mut object = self;
        for key in before {
            match object.get_mut(key) {
                Some(Value::Object(inner)) => object = inner,
                _ => return,
            }
        }
        object.remove(last);
    }
}

/// What became of setting a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// It is set.
    Set,
    /// The path leads through something that is no object.
    InTheWay,
    /// The path has too many keys, or the value is nested too deep.
    TooDeep,
}

impl<K: Into<CompactString>> FromIterator<(K, Value)> for Object {
    fn from_iter<T: IntoIterator<Item = (K, Value)>>(iter: T) -> Object {
        Object(iter.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl From<Vec<(CompactString, Value)>> for Object {
    /// Members whose names are there once each.
    fn from(members: Vec<(CompactString, Value)>) -> Object {
        Object(members)
    }
}

impl IntoIterator for Object {
    type Item = (CompactString, Value);
    type IntoIter = std::vec::IntoIter<(CompactString, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Value {
    /// A string.
    #[must_use]
    pub fn text(text: impl Into<CompactString>) -> Value {
        Value::Text(text.into())
    }

    /// The text of a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How deep it is nested: 0 for what is neither a list nor an object. Without recursion.
    #[must_use]
    pub fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut left = vec![(self, 0)];
        while let Some((value, depth)) = left.pop() {
            deepest = deepest.max(depth);
            match value {
                Value::List(list) => left.extend(list.iter().map(|item| (item, depth + 1))),
                Value::Object(object) => left.extend(object.iter().map(|(_, item)| (item, depth + 1))),
                _ => {}
            }
        }
        deepest
    }
}

/// Splits a dotted attribute path. A backslash before a dot or a backslash keeps it as it is, so `labels.a\.b` names the label `a.b`; before
/// anything else it stands for itself. `donjon_expr::path` splits the same way (the table `path_cases.txt`).
#[must_use]
pub fn split_path(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => parts.push(String::new()),
            '\\' => push_last(
                &mut parts,
                chars.next_if(|next| matches!(next, '.' | '\\')).unwrap_or('\\'),
            ),
            c => push_last(&mut parts, c),
        }
    }
    parts
}

fn push_last(parts: &mut [String], c: char) {
    if let Some(last) = parts.last_mut() {
        last.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_dots_that_are_not_escaped() {
        let check = |path: &str, expected: &[&str]| assert_eq!(split_path(path), expected, "{path}");
        check("labels.host", &["labels", "host"]);
        check(r"labels.a\.b", &["labels", "a.b"]);
        check("", &[""]);
        check("a..b", &["a", "", "b"]);
    }

    #[test]
    fn paths_split_as_those_of_conditions_do() {
        let cases = include_str!("../../../plugin-sdk/expr/tests/common/path_cases.txt");
        for case in cases.lines().filter(|line| !line.starts_with('#')) {
            let (path, keys) = case.split_once(" => ").unwrap();
            let expected: Vec<&str> = keys.split('|').skip(1).collect();
            assert_eq!(split_path(path), expected, "{path}");
        }
    }

    #[test]
    fn setting_a_path_creates_objects_but_never_replaces_other_values() {
        let mut object = Object::new();
        assert_eq!(
            object.set_at(&split_path("labels.host"), Value::Int(1)),
            SetOutcome::Set
        );
        assert_eq!(object.at(&["labels", "host"]), Some(&Value::Int(1)));
        let in_the_way = object.set_at(&split_path("labels.host.x"), Value::Int(2));
        assert_eq!(in_the_way, SetOutcome::InTheWay);
        object.remove_at(&split_path("labels.host"));
        assert_eq!(object.at(&["labels", "host"]), None);
    }

    #[test]
    fn a_path_of_dots_is_refused_and_leaves_nothing() {
        let mut object = Object::new();
        let dots = split_path(&format!("a{}", ".".repeat(65_535)));
        assert_eq!(object.set_at(&dots, Value::Int(1)), SetOutcome::TooDeep);
        object.remove_at(&dots);
        assert_eq!(object, Object::new());
        let nested = (1..MAX_VALUE_DEPTH - 1).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        assert_eq!(nested.depth(), MAX_VALUE_DEPTH - 2);
        assert_eq!(object.set_at(&split_path("a.b"), nested.clone()), SetOutcome::Set);
        assert_eq!(object.set_at(&split_path("a.b.c"), nested), SetOutcome::TooDeep);
        let longest = vec!["k".to_owned(); MAX_PATH_KEYS];
        assert_eq!(object.set_at(&longest, Value::Null), SetOutcome::Set);
    }
}
