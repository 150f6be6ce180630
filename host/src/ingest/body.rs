//! Request bodies to raw items: decompression within limits, then a split that keeps one bad item from taking the others
//! down. Knows nothing of alerts.

use std::cell::Cell;
use std::fmt;
use std::io::Read;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::error::ApiError;
use crate::http::in_flight::{InFlight, NoRoom};

/// Decompressed at a time; counted before more is.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a body as a whole was refused.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed once decompressed.
    #[error("body is larger than ingest.max_body_bytes: {0}")]
    TooLarge(usize),
    /// More items than allowed, those inside of others counted.
    #[error("body has more alerts than ingest.max_items: {0}")]
    TooMany(usize),
    /// A content encoding nobody knows.
    #[error("unknown content encoding; use gzip, zstd or none: {0}")]
    Encoding(String),
    /// Compressed data that does not decompress.
    #[error("body does not decompress: {0}")]
    Compression(#[source] std::io::Error),
    /// Not JSON.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// JSON, but neither an object nor a list.
    #[error("body must be an alert object, a list of them, or lines of them, found {0}")]
    Shape(&'static str),
    /// No memory for what it becomes.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> ApiError {
        let (status, code) = match &error {
            BodyError::NoRoom(full) => return (*full).into(),
            BodyError::TooLarge(_) | BodyError::TooMany(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            BodyError::Encoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_encoding"),
            BodyError::Compression(_) | BodyError::Json(_) => (StatusCode::BAD_REQUEST, "malformed"),
            BodyError::Shape(_) => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_shape"),
        };
        ApiError::new(status, code, error.to_string())
    }
}

/// A body as text. Bytes that are no UTF-8 are question marks in it, one for each, so that what is around them can still
/// be taken apart; where they were is asked of the original.
pub enum BodyText {
    /// It is text.
    Text(String),
    /// Some of it is not.
    Replaced {
        /// As it came.
        original: Bytes,
        /// As long as the original.
        text: String,
    },
}

impl BodyText {
    /// The text of a body.
    ///
    /// # Errors
    /// When there is no memory for a copy; one is made only of what is not UTF-8.
    pub fn new(original: Bytes, in_flight: &InFlight) -> Result<BodyText, NoRoom> {
        // Nothing is copied where nobody else holds the bytes.
        let original = match String::from_utf8(original.into()) {
            Ok(text) => return Ok(BodyText::Text(text)),
            Err(error) => error.into_bytes(),
        };
        in_flight.take(original.len() as u64)?;
        let mut text = String::with_capacity(original.len());
        for chunk in original.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| '?'));
        }
        Ok(BodyText::Replaced {
            original: original.into(),
            text,
        })
    }

    /// The text; a byte-order mark is not part of it.
    pub fn text(&self) -> &str {
        let (BodyText::Text(text) | BodyText::Replaced { text, .. }) = self;
        text.strip_prefix('\u{feff}').unwrap_or(text)
    }

    /// The bytes that a part of the text was.
    pub fn bytes_of<'a>(&'a self, part: &'a str) -> &'a [u8] {
        let BodyText::Replaced { original, text } = self else {
            return part.as_bytes();
        };
        let begin = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        original.get(begin..begin + part.len()).unwrap_or(part.as_bytes())
    }

    /// Whether a part of the text is what was sent.
    pub fn is_utf8(&self, part: &str) -> bool {
        match self {
            BodyText::Text(_) => true,
            BodyText::Replaced { .. } => self.bytes_of(part) == part.as_bytes(),
        }
    }
}

/// Decompresses a body; what comes out is counted as it does.
///
/// # Errors
/// When the encoding is unknown, the data is broken or larger than `max_bytes`, or there is no memory for it.
pub fn decompress(
    body: Bytes,
    encoding: Option<&str>,
    max_bytes: usize,
    in_flight: &InFlight,
) -> Result<Bytes, BodyError> {
    match encoding.map(str::trim).map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => {
            if body.len() > max_bytes {
                return Err(BodyError::TooLarge(max_bytes));
            }
            Ok(body)
        }
        Some("gzip" | "x-gzip") => bounded(flate2::read::MultiGzDecoder::new(body.as_ref()), max_bytes, in_flight),
        Some("zstd") => {
            let decoder = zstd::stream::read::Decoder::new(body.as_ref()).map_err(BodyError::Compression)?;
            bounded(decoder, max_bytes, in_flight)
        }
        Some(other) => Err(BodyError::Encoding(other.to_owned())),
    }
}

fn bounded(mut reader: impl Read, max_bytes: usize, in_flight: &InFlight) -> Result<Bytes, BodyError> {
    let mut text = Vec::new();
    loop {
        let mut chunk = reader.by_ref().take(CHUNK_BYTES as u64);
        let read = chunk.read_to_end(&mut text).map_err(BodyError::Compression)?;
        // The vector grows by doubling.
        in_flight.take_body(2 * read as u64)?;
        if text.len() > max_bytes {
            return Err(BodyError::TooLarge(max_bytes));
        }
        if read == 0 {
            return Ok(text.into());
        }
    }
}

/// Splits a body into items: texts not yet looked into. Lines are split only where the content type says so
/// (`application/x-ndjson`), or where a first object is followed by another on a line of its own; a line may be anything.
///
/// # Errors
/// When the body as a whole is not of a known shape, or has too many items.
pub fn split(body: &str, ndjson: bool, max_items: usize) -> Result<Vec<&str>, BodyError> {
    match first_byte(body) {
        None => Err(BodyError::Json("the body is empty".into())),
        _ if ndjson => lines(body, max_items),
        Some(b'[') => elements(body, max_items),
        Some(b'{') => match serde_json::from_str::<&RawValue>(body) {
            Ok(raw) => Ok(vec![raw.get()]),
            Err(error) if is_trailing_object(body, &error) => lines(body, max_items),
            Err(error) => Err(BodyError::Json(format!(
                "{error} (lines of JSON are taken apart with content-type: application/x-ndjson)"
            ))),
        },
        Some(_) => {
            serde_json::from_str::<&RawValue>(body).map_err(|error| BodyError::Json(error.to_string()))?;
            Err(BodyError::Shape("another JSON value"))
        }
    }
}

fn first_byte(body: &str) -> Option<u8> {
    body.bytes().find(|byte| !byte.is_ascii_whitespace())
}

/// The elements of a JSON list, not looked into.
///
/// # Errors
/// When it is no list, or has more than `max_items`.
pub fn elements(list: &str, max_items: usize) -> Result<Vec<&str>, BodyError> {
    let over = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_str(list);
    let seed = Elements { max_items, over: &over };
    let found = seed
        .deserialize(&mut reader)
        .and_then(|found| reader.end().map(|()| found));
    found.map_err(|error| {
        if over.get() {
            BodyError::TooMany(max_items)
        } else {
            BodyError::Json(error.to_string())
        }
    })
}

/// Reads a list and stops at the first element too many: what comes after it costs nothing.
struct Elements<'a> {
    max_items: usize,
    over: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = Vec<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(raw) = list.next_element::<&'de RawValue>()? {
            if found.len() >= self.max_items {
                self.over.set(true);
                return Err(A::Error::custom("too many elements"));
            }
            found.push(raw.get());
        }
        Ok(found)
    }
}

fn is_trailing_object(body: &str, error: &serde_json::Error) -> bool {
    error.line() > 1
        && error.column() == 1
        && error.to_string().starts_with("trailing characters")
        && body.contains('\n')
}

fn lines(body: &str, max_items: usize) -> Result<Vec<&str>, BodyError> {
    let mut items = Vec::new();
    for line in body.split('\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() >= max_items {
            return Err(BodyError::TooMany(max_items));
        }
        items.push(line);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::in_flight::ByteBudget;
    use std::io::Write;

    fn check(body: &str, ndjson: bool, expected: Result<&[&str], &str>) {
        match (split(body, ndjson, 3), expected) {
            (Ok(items), Ok(expected)) => assert_eq!(items, expected, "{body}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{body}: {error}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    }

    #[test]
    fn bodies_split_into_items_and_lines_are_left_as_they_are() {
        check(r#"{"a":1}"#, false, Ok(&[r#"{"a":1}"#]));
        check(r#" [{"a":1}, {"b":[2]}]"#, false, Ok(&[r#"{"a":1}"#, r#"{"b":[2]}"#]));
        check(
            "{\"a\":1}\n{bad\n\n{\"b\":2}\n",
            true,
            Ok(&[r#"{"a":1}"#, "{bad", r#"{"b":2}"#]),
        );
        check("{\"a\":1}\n{\"b\":2}", false, Ok(&[r#"{"a":1}"#, r#"{"b":2}"#]));
        check("[1,2,3,4,5,6", false, Err("more alerts than"));
        check("{}\n{}\n{}\n{}", true, Err("more alerts than"));
        check("", false, Err("empty"));
        check("\"text\"", false, Err("another JSON value"));
        check("{\"a\":", false, Err("malformed JSON"));
        check("[{\"a\":1},", false, Err("malformed JSON"));
        check(&"[".repeat(100_000), false, Err("malformed JSON"));
    }

    #[test]
    fn decompression_stops_at_the_limit() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![b' '; 1 << 20]).unwrap();
        let gzip = Bytes::from(gzip.finish().unwrap());
        let budget = ByteBudget::new(64 << 20);
        let in_flight = InFlight::new(&budget);
        let decompress =
            |body: Bytes, encoding: Option<&str>, limit: usize| super::decompress(body, encoding, limit, &in_flight);
        let zstd = Bytes::from(zstd::encode_all(&vec![b' '; 1 << 20][..], 1).unwrap());
        for (body, encoding) in [(gzip, "gzip"), (zstd, "zstd")] {
            assert_eq!(
                decompress(body.clone(), Some(encoding), 1 << 20).unwrap().len(),
                1 << 20
            );
            assert!(matches!(
                decompress(body, Some(encoding), 1 << 19),
                Err(BodyError::TooLarge(_))
            ));
        }
        assert!(matches!(
            decompress(Bytes::from("x"), Some("gzip"), 10),
            Err(BodyError::Compression(_))
        ));
        assert!(matches!(
            decompress(Bytes::from("x"), Some("br"), 10),
            Err(BodyError::Encoding(_))
        ));
    }

    #[test]
    fn what_a_bomb_becomes_is_counted_before_it_is_there() {
        let bomb = Bytes::from(zstd::encode_all(&vec![b' '; 32 << 20][..], 1).unwrap());
        let budget = ByteBudget::new(8 << 20);
        let in_flight = InFlight::new(&budget);
        let refused = super::decompress(bomb, Some("zstd"), 1 << 30, &in_flight);
        assert!(matches!(refused, Err(BodyError::NoRoom(NoRoom::TooLarge(_)))));
    }

    #[test]
    fn a_byte_that_is_no_text_stays_with_its_element() {
        let budget = ByteBudget::new(1 << 20);
        let in_flight = InFlight::new(&budget);
        let body = BodyText::new(
            Bytes::from_static(b"[{\"a\":\"\xff\xc3\"},{\"b\":\"\xc3\xa9\"}]"),
            &in_flight,
        )
        .unwrap();
        let items = split(body.text(), false, 9).unwrap();
        let shown: Vec<(&[u8], bool)> = items
            .iter()
            .map(|text| (body.bytes_of(text), body.is_utf8(text)))
            .collect();
        assert_eq!(
            shown,
            [
                (&b"{\"a\":\"\xff\xc3\"}"[..], false),
                (&b"{\"b\":\"\xc3\xa9\"}"[..], true)
            ]
        );
        let marked = BodyText::new(Bytes::from_static(b"\xef\xbb\xbf{\"a\":1}"), &in_flight).unwrap();
        assert_eq!(split(marked.text(), false, 9).unwrap(), ["{\"a\":1}"]);
        let marked = BodyText::new(Bytes::from_static(b"\xef\xbb\xbf[\"\xff\"]"), &in_flight).unwrap();
        let items = split(marked.text(), false, 9).unwrap();
        assert!(matches!(items[..], [text] if marked.bytes_of(text) == b"\"\xff\""));
    }
}
