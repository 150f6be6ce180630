//! Values to compact JSON text, byte for byte as `serde_json` prints them: each alert is printed once on its way in, and
//! this costs a third of it. Knows nothing of parsing.

use donjon_core::{Object, Value};

/// Prints a value as compact JSON.
#[cfg(test)]
pub fn to_text(value: &Value) -> String {
    let mut text = Vec::new();
    print(&mut text, value);
    // Only JSON was written.
    String::from_utf8(text).unwrap_or_default()
}

/// Prints an object as compact JSON.
pub fn object_to_vec(object: &Object) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    print_object(&mut text, object);
    text
}

/// As `serde_json` prints; what it is good at is left to it, and texts without anything to escape are copied whole: each
/// alert is printed once on its way in. Recursion is bounded as at parsing.
fn print(text: &mut Vec<u8>, value: &Value) {
    // Writing to memory cannot fail.
    match value {
        Value::Null => text.extend_from_slice(b"null"),
        Value::Bool(b) => text.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Int(i) => drop(serde_json::to_writer(text, i)),
        Value::Float(f) => drop(serde_json::to_writer(text, f)),
        Value::Text(inner) => print_text(text, inner),
        Value::List(list) => {
            text.push(b'[');
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    text.push(b',');
                }
                print(text, item);
            }
            text.push(b']');
        }
        Value::Object(object) => print_object(text, object),
    }
}

fn print_object(text: &mut Vec<u8>, object: &Object) {
    text.push(b'{');
    for (at, (key, value)) in object.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        print_text(text, key);
        text.push(b':');
        print(text, value);
    }
    text.push(b'}');
}

fn print_text(text: &mut Vec<u8>, inner: &str) {
    if needs_escape(inner.as_bytes()) {
        return drop(serde_json::to_writer(text, inner));
    }
    text.reserve(inner.len() + 2);
    text.push(b'"');
    text.extend_from_slice(inner.as_bytes());
    text.push(b'"');
}

/// Whether a quote, a backslash or a control character is among the bytes; eight at once, most texts being short.
fn needs_escape(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let found = words
        .iter()
        .fold(0, |found, word| found | escapes_of(u64::from_le_bytes(*word)));
    found | escapes_of(u64::from_le_bytes(last)) != 0
}

/// Not zero if one of the eight bytes has to be escaped. `(x - 0x01..) & !x & 0x80..` has a bit where a byte of x is zero
/// (Mycroft's test; what it finds too much is above a byte that it found), and with 0x20 where one is smaller.
fn escapes_of(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |x: u64, limit: u64| x.wrapping_sub(ONES * limit) & !x;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_has_to_be_escaped_is_seen_wherever_it_is(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = text.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(needs_escape(&text), expected);
        }
    }
}
