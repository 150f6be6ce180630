//! JSON text to the domain's value tree and back. The only place that knows both; it knows nothing of alerts.

use std::collections::HashMap;
use std::fmt;

use donjon_core::batch::Scalar;
use donjon_core::{Object, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Most members of one object, the same name twice counted twice: look-up is linear. Ingest takes fewer at the top level, so that what normalising adds never makes a stored document unreadable.
pub const MAX_OBJECT_MEMBERS: usize = 1024;

/// A value tree as serde sees it. NUL characters are removed from strings, as the reference does before storing.
pub struct Tree(pub Value);

/// Parses one JSON document; nesting is bounded by `serde_json` (128 levels).
///
/// # Errors
/// When the text is not JSON or an object has too many members.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Tree>(text).map(|tree| tree.0)
}

/// What one value of a tree takes beside its text: a member with its name, in a vector that may be twice as large as it
/// has to be.
const NODE_BYTES: u64 = 80;

/// The most memory that parsing a text can take, found out without parsing it. `[1,1,1]` grows manifold, an ordinary
/// alert about threefold.
pub fn tree_bytes_at_most(text: &str) -> u64 {
    let nodes = |bytes: &[u8]| bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() as u64;
    let bound = |nodes: u64| text.len() as u64 + (nodes + 1) * NODE_BYTES;
    let all = nodes(text.as_bytes());
    if bound(all) <= EXACT_FROM_BYTES {
        return bound(all);
    }
    // A long text may be full of commas: only what is outside of strings counts.
    let (mut found, mut in_text, mut escaped) = (0u64, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => found += 1,
            _ => {}
        }
    }
    bound(found)
}

/// From here on the memory of a tree is told more exactly.
const EXACT_FROM_BYTES: u64 = 64 << 10;

/// Prints a value as compact JSON.
pub fn to_text(value: &Value) -> String {
    serde_json::to_string(&Ref(value)).unwrap_or_default()
}

/// Prints an object as compact JSON.
pub fn object_to_vec(object: &Object) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    // Writing to memory cannot fail, and no key is anything but a string.
    let _ = serde_json::to_writer(&mut text, &RefObject(object));
    text
}

/// A tree for the HTTP interface.
pub fn to_serde(value: &Value) -> serde_json::Value {
    serde_json::to_value(Ref(value)).unwrap_or_default()
}

/// A scalar for the HTTP interface.
pub fn scalar_to_serde(scalar: &Scalar) -> serde_json::Value {
    match scalar {
        Scalar::Null => serde_json::Value::Null,
        Scalar::Bool(b) => (*b).into(),
        Scalar::Int(i) => (*i).into(),
        Scalar::Float(f) => (*f).into(),
        Scalar::Text(text) => text.clone().into(),
        Scalar::Json(text) => serde_json::from_str(text).unwrap_or_default(),
    }
}

/// The value at a path of keys; a number counts the elements of a list. None where there is nothing.
pub fn at<'a, K: AsRef<str>>(value: &'a serde_json::Value, path: &[K]) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(value, |value, key| match value {
        serde_json::Value::Object(members) => members.get(key.as_ref()),
        serde_json::Value::Array(elements) => elements.get(key.as_ref().parse::<usize>().ok()?),
        _ => None,
    })
}

/// A value to print.
struct Ref<'a>(&'a Value);

struct RefObject<'a>(&'a Object);

impl Serialize for Ref<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => serializer.serialize_i64(*i),
            Value::Float(f) => serializer.serialize_f64(*f),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for item in list {
                    seq.serialize_element(&Ref(item))?;
                }
                seq.end()
            }
            Value::Object(object) => RefObject(object).serialize(serializer),
        }
    }
}

impl Serialize for RefObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            map.serialize_entry(key, &Ref(value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Tree, E> {
        Ok(Tree(Value::Bool(b)))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Tree, E> {
        Ok(Tree(Value::Int(i)))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 63 bits only the magnitude is kept, as JSON readers do"
    )]
    fn visit_u64<E>(self, u: u64) -> Result<Tree, E> {
        Ok(Tree(i64::try_from(u).map_or(Value::Float(u as f64), Value::Int)))
    }

    fn visit_f64<E>(self, f: f64) -> Result<Tree, E> {
        Ok(Tree(Value::Float(f)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree(Value::Text(without_nul(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(item)) = seq.next_element()? {
            list.push(item);
        }
        list.shrink_to_fit();
        Ok(Tree(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            let Tree(value) = map.next_value()?;
            if members.len() >= MAX_OBJECT_MEMBERS {
                return Err(de::Error::custom(format_args!(
                    "object has more members than the limit: {MAX_OBJECT_MEMBERS}"
                )));
            }
            members.push((key, value));
        }
        if members.capacity() > 2 * members.len() {
            members.shrink_to_fit();
        }
        Ok(Tree(Value::Object(without_twins(members))))
    }
}

/// Objects up to here are looked through for names that are there twice; larger ones are sorted for that.
const FEW_MEMBERS: usize = 32;

/// An object of members in the order of arrival. Of two with the same name the first keeps its place and the last its
/// value, as in every reader of JSON.
fn without_twins(members: Vec<(String, Value)>) -> Object {
    let named_before = |at: usize, (name, _): &(String, Value)| members.iter().take(at).any(|(other, _)| other == name);
    let twins = if members.len() <= FEW_MEMBERS {
        members.iter().enumerate().any(|(at, member)| named_before(at, member))
    } else {
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
    };
    if !twins {
        return members.into_iter().collect();
    }
    let mut last: HashMap<String, Value> = HashMap::with_capacity(members.len());
    let mut order = Vec::with_capacity(members.len());
    for (name, value) in members {
        if last.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    }
    let member = |name: String| last.remove(&name).map(|value| (name, value));
    order.into_iter().filter_map(member).collect()
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(without_nul(text)))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

fn without_nul(text: &str) -> String {
    if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_members_counts_in_the_place_of_the_first() {
        let wide: Vec<String> = (0..100).map(|i| format!("\"k{}\":{i}", i % 50)).collect();
        let Value::Object(object) = parse(format!("{{{}}}", wide.join(",")).as_bytes()).unwrap() else {
            panic!("an object")
        };
        let expected: Vec<(String, Value)> = (0..50).map(|i| (format!("k{i}"), Value::Int(i + 50))).collect();
        assert_eq!(object, expected.into_iter().collect());
        assert_eq!(to_text(&parse(br#"{"a":1,"b":2,"a":3}"#).unwrap()), r#"{"a":3,"b":2}"#);
    }

    /// What a tree takes by its lengths; vectors may be up to twice as large.
    fn taken(value: &Value) -> u64 {
        let own = size_of::<Value>();
        let inside = match value {
            Value::Text(text) => text.len() as u64,
            Value::List(list) => list.iter().map(taken).sum(),
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| 24 + key.len() as u64 + taken(value))
                .sum(),
            _ => 0,
        };
        own as u64 + inside
    }

    #[test]
    fn the_memory_of_a_tree_is_known_before_it_is_parsed() {
        let commas = format!("{{\"message\":\"{}\"}}", ",[{\\\"".repeat(100_000));
        let ones = format!("[{}1]", "1,".repeat(100_000));
        let objects = format!("[{}{{}}]", "{\"a\":[]},".repeat(10_000));
        for text in [
            commas.as_str(),
            &ones,
            &objects,
            "{}",
            r#"{"name":"disk full","labels":{"host":"db-7"}}"#,
        ] {
            let (bound, taken) = (tree_bytes_at_most(text), taken(&parse(text.as_bytes()).unwrap()));
            assert!(taken <= bound, "{taken} > {bound}: {}", &text[..20]);
        }
        assert!(
            tree_bytes_at_most(&commas) < 2 * commas.len() as u64,
            "commas in a text are no values"
        );
        assert!(tree_bytes_at_most(&ones) > 16 * ones.len() as u64);
    }

    #[test]
    fn documents_survive_and_hostile_ones_are_refused() {
        let text = r#"{"b":1,"a":[true,null,-2.5,"x\"y"],"c":{"d":18446744073709551615}}"#;
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(
            to_text(&value),
            text.replace("18446744073709551615", "1.8446744073709552e+19")
        );
        let deep = "[".repeat(100_000);
        assert!(
            parse(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("recursion limit")
        );
        let wide = format!(
            "{{{}}}",
            (0..2000).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(",")
        );
        assert!(
            parse(wide.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("more members than the limit")
        );
        assert_eq!(to_text(&parse(br#""a\u0000b""#).unwrap()), r#""ab""#);
    }
}
