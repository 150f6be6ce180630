//! JSON text to the domain's value tree and back. The only place that knows both; it knows nothing of alerts.

use std::fmt;

use donjon_core::batch::Scalar;
use donjon_core::{Object, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Most members of one object: look-up is linear, so more would let one item cost the square of its size. Ingest takes
/// fewer at the top level, so that what normalising adds never makes a stored document unreadable.
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
        Ok(Tree(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut object = Object::with_capacity(8);
        while let Some(Key(key)) = map.next_key()? {
            let Tree(value) = map.next_value()?;
            object.set(key, value);
            if object.len() > MAX_OBJECT_MEMBERS {
                return Err(de::Error::custom(format_args!(
                    "object has more members than the limit: {MAX_OBJECT_MEMBERS}"
                )));
            }
        }
        Ok(Tree(Value::Object(object)))
    }
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
