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
    let mut hash = Sha256::new();
    for value in values {
        match value {
            None => hash.update([0]),
            Some(value) => update(&mut hash, value),
        }
    }
    hex(&hash.finalize())
}

/// The digest of what an event says, independent of the order of attributes. `skip_id` leaves out a generated `id`.
#[must_use]
pub fn content_digest(attributes: &Object, skip_id: bool) -> ContentDigest {
    let mut hash = Sha256::new();
    let ignored = |key: &str| IGNORED_ATTRIBUTES.contains(&key) || (skip_id && key == "id");
    update_object(&mut hash, attributes, &ignored);
    let mut digest = [0u8; 16];
    for (to, from) in digest.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    ContentDigest(digest)
}

/// Feeds a value with a tag and a length before each part, so that no two different trees feed the same bytes. Null
/// members count as absent.
fn update(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update([0]),
        Value::Bool(b) => hash.update([1, u8::from(*b)]),
        Value::Int(i) => {
            hash.update([2]);
            hash.update(i.to_be_bytes());
        }
        Value::Float(f) => {
            hash.update([3]);
            hash.update(f.to_bits().to_be_bytes());
        }
        Value::Text(text) => update_text(hash, text),
        Value::List(list) => {
            hash.update([5]);
            hash.update((list.len() as u64).to_be_bytes());
            for item in list {
                update(hash, item);
            }
        }
        Value::Object(object) => update_object(hash, object, &|_| false),
    }
}

fn update_text(hash: &mut Sha256, text: &str) {
    hash.update([4]);
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

fn update_object(hash: &mut Sha256, object: &Object, ignored: &dyn Fn(&str) -> bool) {
    let mut members: Vec<(&str, &Value)> = object
        .iter()
        .filter(|(key, value)| !matches!(value, Value::Null) && !ignored(key))
        .collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    hash.update([6]);
    hash.update((members.len() as u64).to_be_bytes());
    for (key, value) in members {
        update_text(hash, key);
        update(hash, value);
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
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
        let a = object(&[
            ("a", Value::Int(1)),
            ("b", Value::Text("x".into())),
            ("id", Value::Text("1".into())),
        ]);
        let b = object(&[
            ("id", Value::Text("2".into())),
            ("b", Value::Text("x".into())),
            ("c", Value::Null),
            ("lastReceived", Value::Text("now".into())),
            ("a", Value::Int(1)),
        ]);
        assert_eq!(content_digest(&a, true), content_digest(&b, true));
        assert_ne!(content_digest(&a, false), content_digest(&b, false));
    }

    #[test]
    fn fingerprints_of_values_do_not_collide_across_borders() {
        let text = |t: &str| Value::Text(t.to_owned());
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
