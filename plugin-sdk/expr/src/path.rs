//! The text form of an attribute path, so that host and plugin split a column the same way.
//!
//! Segments are joined with `.`; a dot inside a segment is written `\.` and a backslash `\\`. `labels["a.b"]` is `labels.a\.b`.
//! Must not know: where the attribute is stored, or that `source.0` is special.

use std::borrow::Cow;

/// The segments of a path, unescaped. A backslash before anything else than `.` or `\` stands for itself.
///
/// Never empty: the path `""` has one empty segment.
pub fn split(path: &str) -> Vec<Cow<'_, str>> {
    let mut segments = Vec::new();
    let mut rest = path;
    while let Some((segment, tail)) = cut(rest) {
        segments.push(unescape(segment));
        rest = tail;
    }
    segments.push(unescape(rest));
    segments
}

/// One segment as it is written in a path.
pub fn escape(segment: &str) -> Cow<'_, str> {
    if !segment.contains(['.', '\\']) {
        return Cow::Borrowed(segment);
    }
    Cow::Owned(segment.replace('\\', "\\\\").replace('.', "\\."))
}

/// The path of segments: the inverse of [`split`].
pub fn join<S: AsRef<str>>(segments: &[S]) -> String {
    let escaped: Vec<_> = segments.iter().map(|segment| escape(segment.as_ref())).collect();
    escaped.join(".")
}

/// Cuts at the first dot that is not escaped.
fn cut(path: &str) -> Option<(&str, &str)> {
    let mut bytes = path.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'.' => return Some((path.get(..at)?, path.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// Resolves `\.` and `\\`.
fn unescape(segment: &str) -> Cow<'_, str> {
    if !segment.contains('\\') {
        return Cow::Borrowed(segment);
    }
    let mut text = String::with_capacity(segment.len());
    let mut chars = segment.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = if char == '\\' {
            chars.next_if(|next| matches!(next, '.' | '\\'))
        } else {
            None
        };
        text.push(escaped.unwrap_or(char));
    }
    Cow::Owned(text)
}
