//! JSON text to the domain's value tree and back. The only place that knows both; it knows nothing of alerts.

mod at_most;
mod print;

use std::collections::HashMap;
use std::fmt;

use compact_str::CompactString;
use donjon_core::batch::Scalar;
use donjon_core::{Object, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

pub use at_most::to_text_at_most;
pub use print::object_to_vec;
#[cfg(test)]
pub use print::to_text;

/// Most members of one object, the same name twice counted twice: look-up is linear. Ingest takes fewer at the top level, so that what normalising adds never makes a stored document unreadable.
pub const MAX_OBJECT_MEMBERS: usize = 1024;

/// A value tree as serde sees it. NUL characters are removed from strings, as the reference does before storing; they
/// are looked for only in a text that may hold some.
struct Tree<const MAY_HOLD_NUL: bool>(Value);

/// Parses one JSON document; nesting is bounded by `serde_json` (128 levels).
///
/// # Errors
/// When the text is not JSON or an object has too many members.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    if may_hold_nul(text.as_bytes()) {
        return serde_json::from_str::<Tree<true>>(text).map(|tree| tree.0);
    }
    serde_json::from_str::<Tree<false>>(text).map(|tree| tree.0)
}

/// Parses what should be UTF-8: a document as it was stored.
///
/// # Errors
/// As `parse`; also when it is no text.
pub fn parse_bytes(text: &[u8]) -> Result<Value, serde_json::Error> {
    if may_hold_nul(text) {
        return serde_json::from_slice::<Tree<true>>(text).map(|tree| tree.0);
    }
    serde_json::from_slice::<Tree<false>>(text).map(|tree| tree.0)
}

/// JSON can say NUL only by this escape; as it is, it is no part of a string.
fn may_hold_nul(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"\\u0000").is_some()
}

/// What one value of a tree takes beside its text: a member with its name, in a vector that may be twice as large as it
/// has to be.
const NODE_BYTES: u64 = 80;

/// The most memory that parsing a text can take, found out without parsing it. `[1,1,1]` grows manifold, an ordinary
/// alert about threefold.
pub fn tree_bytes_at_most(text: &str) -> u64 {
    let bound = |nodes: u64| text.len() as u64 + (nodes + 1) * NODE_BYTES;
    let all = separators(text.as_bytes());
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

/// Bytes that a value may come after. Counted in bytes as long as they fit, which is what a processor does 16 at once.
fn separators(text: &[u8]) -> u64 {
    let of_chunk = |chunk: &[u8]| -> u8 {
        let counted = chunk.iter().map(|byte| u8::from(matches!(byte, b',' | b'[' | b'{')));
        counted.fold(0, u8::wrapping_add)
    };
    text.chunks(usize::from(u8::MAX))
        .map(|chunk| u64::from(of_chunk(chunk)))
        .sum()
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

impl<'de, const MAY_HOLD_NUL: bool> Deserialize<'de> for Tree<MAY_HOLD_NUL> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor<const MAY_HOLD_NUL: bool>;

impl<'de, const MAY_HOLD_NUL: bool> Visitor<'de> for TreeVisitor<MAY_HOLD_NUL> {
    type Value = Tree<MAY_HOLD_NUL>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Self::Value, E> {
        Ok(Tree(Value::Bool(b)))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Self::Value, E> {
        Ok(Tree(Value::Int(i)))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 63 bits only the magnitude is kept, as JSON readers do"
    )]
    fn visit_u64<E>(self, u: u64) -> Result<Self::Value, E> {
        Ok(Tree(i64::try_from(u).map_or(Value::Float(u as f64), Value::Int)))
    }

    fn visit_f64<E>(self, f: f64) -> Result<Self::Value, E> {
        Ok(Tree(Value::Float(f)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Tree(Value::Text(owned::<MAY_HOLD_NUL>(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(item)) = seq.next_element::<Tree<MAY_HOLD_NUL>>()? {
            list.push(item);
        }
        list.shrink_to_fit();
        Ok(Tree(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(CompactString, Value)> = Vec::new();
        while let Some(Key(key)) = map.next_key::<Key<MAY_HOLD_NUL>>()? {
            let Tree(value) = map.next_value::<Tree<MAY_HOLD_NUL>>()?;
            if members.len() >= MAX_OBJECT_MEMBERS {
                return Err(de::Error::custom(format_args!(
                    "object has more members than the limit: {MAX_OBJECT_MEMBERS}"
                )));
            }
            if members.is_empty() {
                members.reserve(FIRST_MEMBERS);
            }
            members.push((key, value));
        }
        if members.capacity() > 2 * members.len() {
            members.shrink_to_fit();
        }
        Ok(Tree(Value::Object(without_twins(members))))
    }
}

/// Room for as many members is made at once.
const FIRST_MEMBERS: usize = 8;
/// Objects up to here are looked through for names that are there twice; larger ones are sorted for that.
const FEW_MEMBERS: usize = 32;

/// An object of members in the order of arrival. Of two with the same name the first keeps its place and the last its
/// value, as in every reader of JSON.
fn without_twins(members: Vec<(CompactString, Value)>) -> Object {
    if !has_twins(&members) {
        return Object::from(members);
    }
    let mut last: HashMap<CompactString, Value> = HashMap::with_capacity(members.len());
    let mut order = Vec::with_capacity(members.len());
    for (name, value) in members {
        if last.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    }
    let member = |name: CompactString| last.remove(&name).map(|value| (name, value));
    order.into_iter().filter_map(member).collect()
}

fn has_twins(members: &[(CompactString, Value)]) -> bool {
    if members.len() > FEW_MEMBERS {
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        return names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    }
    // A set of marks, one of 256 a name: only a name whose mark is there already is compared with those before it.
    let mut marks = [0u64; 4];
    members.iter().enumerate().any(|(at, (name, _))| {
        let mark = mark_of(name.as_bytes());
        let bit = 1u64 << (mark % 64);
        let Some(word) = marks.get_mut(usize::from(mark / 64)) else {
            return false;
        };
        let seen = *word & bit != 0;
        *word |= bit;
        seen && members.iter().take(at).any(|(other, _)| other == name)
    })
}

/// Some byte that is the same for the same name, and mostly another for another.
fn mark_of(name: &[u8]) -> u8 {
    let at = |at: usize| name.get(at).copied().unwrap_or(0);
    let length = u8::try_from(name.len() % 256).unwrap_or(0);
    let (first, middle, last) = (at(0), at(name.len() / 2), at(name.len().saturating_sub(1)));
    length.wrapping_mul(67) ^ first.wrapping_mul(29) ^ middle.wrapping_mul(11) ^ last.wrapping_mul(151)
}

struct Key<const MAY_HOLD_NUL: bool>(CompactString);

impl<'de, const MAY_HOLD_NUL: bool> Deserialize<'de> for Key<MAY_HOLD_NUL> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor<const MAY_HOLD_NUL: bool>;
        impl<const MAY_HOLD_NUL: bool> Visitor<'_> for KeyVisitor<MAY_HOLD_NUL> {
            type Value = Key<MAY_HOLD_NUL>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(owned::<MAY_HOLD_NUL>(text)))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The text without NUL characters, as every text of a document that is parsed.
pub fn without_nul(text: &str) -> String {
    owned::<true>(text).into()
}

fn owned<const MAY_HOLD_NUL: bool>(text: &str) -> CompactString {
    if MAY_HOLD_NUL && text.contains('\0') {
        text.replace('\0', "").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_of_two_members_counts_in_the_place_of_the_first() {
        let wide: Vec<String> = (0..100).map(|i| format!("\"k{}\":{i}", i % 50)).collect();
        let Value::Object(object) = parse(&format!("{{{}}}", wide.join(","))).unwrap() else {
            panic!("an object")
        };
        let expected: Vec<(String, Value)> = (0..50).map(|i| (format!("k{i}"), Value::Int(i + 50))).collect();
        assert_eq!(object, expected.into_iter().collect());
        assert_eq!(to_text(&parse(r#"{"a":1,"b":2,"a":3}"#).unwrap()), r#"{"a":3,"b":2}"#);
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
            let (bound, taken) = (tree_bytes_at_most(text), taken(&parse(text).unwrap()));
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
        let value = parse(text).unwrap();
        assert_eq!(
            to_text(&value),
            text.replace("18446744073709551615", "1.8446744073709552e+19")
        );
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).unwrap_err().to_string().contains("recursion limit"));
        let wide = format!(
            "{{{}}}",
            (0..2000).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(",")
        );
        assert!(
            parse(&wide)
                .unwrap_err()
                .to_string()
                .contains("more members than the limit")
        );
        assert_eq!(to_text(&parse(r#""a\u0000b""#).unwrap()), r#""ab""#);
    }

    #[test]
    fn nul_is_removed_from_names_and_texts_before_twins_are_looked_for() {
        let text = r#"{"a\u0000":"x\u0000y","a":1,"\\u0000":"\\u0000"}"#;
        assert_eq!(to_text(&parse(text).unwrap()), r#"{"a":1,"\\u0000":"\\u0000"}"#);
        assert_eq!(parse(text).unwrap(), parse_bytes(text.as_bytes()).unwrap());
        assert!(parse("\"\0\"").is_err(), "as it is, it is no part of a string");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Float),
            any::<String>().prop_map(Value::text),
            "[ -~]{0,40}".prop_map(Value::text),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::vec((any::<String>().prop_map(CompactString::from), inner), 0..8)
                    .prop_map(|members| Value::Object(without_twins(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_are_printed_as_serde_prints_them(value in values()) {
            prop_assert_eq!(to_text(&value), serde_json::to_string(&Ref(&value)).unwrap());
        }

        #[test]
        fn twins_are_found_whatever_they_are_called(names in prop::collection::vec("[ab]{0,4}|label_[0-9]{1,2}", 0..80)) {
            let members: Vec<_> = names.iter().map(|name| (name.into(), Value::Null)).collect();
            let different: std::collections::HashSet<&String> = names.iter().collect();
            prop_assert_eq!(has_twins(&members), different.len() < names.len());
        }

        #[test]
        fn separators_are_counted_one_by_one(text in "[,{a]{0,1000}") {
            let counted = text.bytes().filter(|byte| matches!(byte, b',' | b'{')).count();
            prop_assert_eq!(separators(text.as_bytes()), counted as u64);
        }
    }
}
