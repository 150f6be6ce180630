//! Text that came from a plugin or a sender, made fit for a log line, a table or an error: one line, nothing that a
//! terminal obeys, not longer than allowed. Every text from outside passes here right before people see it; stored
//! attributes of alerts stay as they came. Knows no log and no terminal.

use crate::limits::cut;

/// One clean line of at most `max_bytes`: what would end the line, move the cursor or reorder the text is written out
/// (`\n`, `\u{1b}`), then the text is cut at the border of a character or of such an escape.
#[must_use]
pub fn one_line(text: &str, max_bytes: usize) -> String {
    if !text.contains(is_unprintable) {
        return cut(text, max_bytes).to_owned();
    }
    // An escape is never shorter than what it stands for, so no more than this much of the text can be needed.
    let mut line = String::with_capacity(text.len().min(max_bytes));
    for character in cut(text, max_bytes).chars() {
        let before = line.len();
        if is_unprintable(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() > max_bytes {
            line.truncate(before);
            break;
        }
    }
    line
}

/// Control characters (C0, DEL, C1), the separators of lines and paragraphs, and marks that change the direction of the
/// text around them.
fn is_unprintable(character: char) -> bool {
    let reorders = matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || reorders || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_from_outside_becomes_one_line_that_no_terminal_obeys() {
        assert_eq!(
            one_line("plain, ünïcödé and C:\\temp", 100),
            "plain, ünïcödé and C:\\temp"
        );
        assert_eq!(one_line("a\nb\r\n\tc", 100), "a\\nb\\r\\n\\tc");
        assert_eq!(
            one_line("\u{1b}[2J\u{7}\u{9b}31m\u{7f}\0", 100),
            "\\u{1b}[2J\\u{7}\\u{9b}31m\\u{7f}\\u{0}"
        );
        assert_eq!(one_line("x\u{2028}y\u{202e}z", 100), "x\\u{2028}y\\u{202e}z");
    }

    #[test]
    fn a_long_text_is_cut_at_the_border_of_a_character_or_of_an_escape() {
        assert_eq!(one_line("abcdef", 3), "abc");
        assert_eq!(one_line("aää", 4), "aä");
        assert_eq!(one_line("ab\n", 3), "ab");
        assert_eq!(one_line("ab\n", 4), "ab\\n");
        assert_eq!(one_line("a\u{1b}[0m", 6), "a");
        assert_eq!(one_line("\n", 0), "");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_one_printable_line_within_its_length(
            text in proptest::collection::vec(any::<char>(), 0..80),
            max in 0usize..64,
        ) {
            let line = one_line(&text.into_iter().collect::<String>(), max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.contains(is_unprintable), "{line:?}");
            prop_assert_eq!(one_line(&line, max), line.clone());
        }
    }
}
