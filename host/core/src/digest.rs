//! Fingerprints and content digests. Pure functions of an alert; which fields a provider hashes is decided at ingest.

use sha2::{Digest, Sha256};

use crate::value::{Object, Value};

/// The content of an event for deduplication: the first 16 bytes of a SHA-256. Two events of one alert with the same
/// digest are full duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentDigest(pub [u8; 16]);

/// Attributes that never count as content: times that differ on each delivery.
pub const IGNORED_ATTRIBUTES: [&str; 1] = ["lastReceived"];

/// The fingerprint of an alert that brought none: lower-case hex SHA-256 of its name, as the reference does.
#[must_use]
pub fn fingerprint_of_name(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes()))
}

/// The fingerprint over several values. Each is preceded by its length and null is marked, so that `("ab", "c")`,
/// `("a", "bc")` and `(null, "abc")` differ (they collide in the reference).
#[must_use]
pub fn fingerprint_of_values(values: &[Option<&Value>]) -> String {
    let mut content = Vec::new();
    for value in values {
        match value {
            None => content.push(0),
            Some(value) => put(&mut content, value),
        }
    }
    hex(&Sha256::digest(&content))
}

/// The digest of what an event says, independent of the order of attributes. `skip_id` leaves out a generated `id`.
#[must_use]
pub fn content_digest(attributes: &Object, skip_id: bool) -> ContentDigest {
    // One buffer, hashed at once: many small updates of the hash cost as much as the hash.
    let mut content = Vec::with_capacity(USUAL_CONTENT_BYTES);
    let ignored = |key: &str| IGNORED_ATTRIBUTES.contains(&key) || (skip_id && key == "id");
    put_object(&mut content, attributes, &ignored);
    let mut digest = [0u8; 16];
    for (to, from) in digest.iter_mut().zip(Sha256::digest(&content)) {
        *to = from;
    }
    ContentDigest(digest)
}

/// What an ordinary alert comes to.
const USUAL_CONTENT_BYTES: usize = 2048;

/// Appends a value with a tag and a length before each part, so that no two different trees come to the same bytes. Null
/// members count as absent.
fn put(content: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => content.push(0),
        Value::Bool(b) => content.extend_from_slice(&[1, u8::from(*b)]),
        Value::Int(i) => {
            content.push(2);
            content.extend_from_slice(&i.to_be_bytes());
        }
        Value::Float(f) => {
            content.push(3);
            content.extend_from_slice(&f.to_bits().to_be_bytes());
        }
        Value::Text(text) => put_text(content, text),
        Value::List(list) => {
            content.push(5);
            content.extend_from_slice(&(list.len() as u64).to_be_bytes());
            for item in list {
                put(content, item);
            }
        }
        Value::Object(object) => put_object(content, object, &|_| false),
    }
}

fn put_text(content: &mut Vec<u8>, text: &str) {
    content.reserve(text.len() + 9);
    content.push(4);
    content.extend_from_slice(&(text.len() as u64).to_be_bytes());
    content.extend_from_slice(text.as_bytes());
}

fn put_object(content: &mut Vec<u8>, object: &Object, ignored: &dyn Fn(&str) -> bool) {
    let mut members: Vec<(&str, &Value)> = Vec::with_capacity(object.len());
    members.extend(
        object
            .iter()
            .filter(|(key, value)| !matches!(value, Value::Null) && !ignored(key)),
    );
    members.sort_unstable_by_key(|(key, _)| *key);
    content.push(6);
    content.extend_from_slice(&(members.len() as u64).to_be_bytes());
    for (key, value) in members {
        put_text(content, key);
        put(content, value);
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(members: &[(&str, Value)]) -> Object {
        members
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn digest_ignores_order_null_times_and_generated_ids() {
        let a = object(&[("a", Value::Int(1)), ("b", Value::text("x")), ("id", Value::text("1"))]);
        let b = object(&[
            ("id", Value::text("2")),
            ("b", Value::text("x")),
            ("c", Value::Null),
            ("lastReceived", Value::text("now")),
            ("a", Value::Int(1)),
        ]);
        assert_eq!(content_digest(&a, true), content_digest(&b, true));
        assert_ne!(content_digest(&a, false), content_digest(&b, false));
    }

    #[test]
    fn the_digest_is_the_one_that_was_stored_before() {
        let inner = object(&[("host", Value::text("db-7")), ("n", Value::Float(2.5))]);
        let alert = object(&[
            ("name", Value::text("disk full")),
            ("labels", Value::Object(inner)),
            ("source", Value::List(vec![Value::text("a"), Value::Bool(true)])),
            ("count", Value::Int(-3)),
        ]);
        let ContentDigest(digest) = content_digest(&alert, false);
        assert_eq!(hex(&digest), "072555d0e823cdb088150e750417ee16");
    }

    #[test]
    fn fingerprints_of_values_do_not_collide_across_borders() {
        let text = |t: &str| Value::text(t);
        let (ab, c, a, bc, abc) = (text("ab"), text("c"), text("a"), text("bc"), text("abc"));
        let prints = [
            fingerprint_of_values(&[Some(&ab), Some(&c)]),
            fingerprint_of_values(&[Some(&a), Some(&bc)]),
            fingerprint_of_values(&[None, Some(&abc)]),
        ];
        assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
        assert_eq!(
            fingerprint_of_name("h3").len(),
            64,
            "a fingerprint of the name is the hex of a SHA-256, as the reference computes it"
        );
    }
}
