//! The beginning of a value as JSON text, for what is cut anyway: printing ends with what is kept. Knows nothing of parsing.

use donjon_core::Value;

use super::Ref;

/// Bytes of a character: one may be cut in two at the end.
const LONGEST_CHARACTER: usize = 4;

/// The beginning of a value as compact JSON: all of it, or somewhat more than so many bytes.
pub fn to_text_at_most(value: &Value, most_bytes: usize) -> String {
    let mut kept = AtMost {
        text: Vec::new(),
        left: most_bytes.saturating_add(LONGEST_CHARACTER),
    };
    // The only error is that there is more than is wanted.
    let _ = serde_json::to_writer(&mut kept, &Ref(value));
    let whole = match std::str::from_utf8(&kept.text) {
        Ok(_) => kept.text.len(),
        Err(error) => error.valid_up_to(),
    };
    kept.text.truncate(whole);
    String::from_utf8(kept.text).unwrap_or_default()
}

/// Takes so many bytes and refuses the rest.
struct AtMost {
    text: Vec<u8>,
    left: usize,
}

impl std::io::Write for AtMost {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        let taken = bytes.get(..self.left).unwrap_or(bytes);
        self.text.extend_from_slice(taken);
        self.left -= taken.len();
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, to_text};
    use super::*;

    #[test]
    fn printing_a_part_stops_at_a_character_and_all_of_a_short_value_is_printed() {
        let value = parse(r#"{"a":["é\n","x"],"b":{"c":1.5}}"#).unwrap();
        let whole = to_text(&value);
        for most in 0..whole.len() + 9 {
            let part = to_text_at_most(&value, most);
            assert!(whole.starts_with(&part), "{part}");
            assert!(part.len() > most || part == whole, "{most}: {part}");
            assert!(part.len() <= most + LONGEST_CHARACTER);
        }
        let long = Value::List(vec![Value::text("y".repeat(1 << 20)); 4]);
        assert!(
            to_text_at_most(&long, 100).capacity() < 1_000,
            "no more is copied than is kept"
        );
    }
}
