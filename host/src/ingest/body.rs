//! Request bodies to raw items: decompression within limits, then a split that keeps one bad item from taking the others
//! down. Knows nothing of alerts.

use std::io::Read;

use bytes::Bytes;
use serde_json::value::RawValue;

/// Why a body as a whole was refused.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed once decompressed.
    #[error("body is larger than ingest.max_body_bytes: {0}")]
    TooLarge(usize),
    /// More items than allowed.
    #[error("body has more alerts than ingest.max_items: {0}")]
    TooMany(usize),
    /// A content encoding nobody knows.
    #[error("unknown content encoding; use gzip, zstd or none: {0}")]
    Encoding(String),
    /// Compressed data that does not decompress.
    #[error("body does not decompress: {0}")]
    Compression(String),
    /// Not JSON.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// JSON, but neither an object nor a list.
    #[error("body must be an alert object, a list of them, or lines of them, found {0}")]
    Shape(&'static str),
}

/// One item of a body: its bytes, or the bytes of a line that is not even JSON.
#[derive(Debug, PartialEq, Eq)]
pub enum RawItem<'a> {
    /// One JSON value, not yet looked into.
    Json(&'a [u8]),
    /// Something else, and why.
    Broken(&'a [u8], String),
}

/// Decompresses a body.
///
/// # Errors
/// When the encoding is unknown, the data is broken or larger than `max_bytes`.
pub fn decompress(body: Bytes, encoding: Option<&str>, max_bytes: usize) -> Result<Bytes, BodyError> {
    match encoding.map(str::trim).map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => {
            if body.len() > max_bytes {
                return Err(BodyError::TooLarge(max_bytes));
            }
            Ok(body)
        }
        Some("gzip" | "x-gzip") => bounded(flate2::read::MultiGzDecoder::new(body.as_ref()), max_bytes),
        Some("zstd") => {
            let decoder = zstd::stream::read::Decoder::new(body.as_ref());
            bounded(
                decoder.map_err(|error| BodyError::Compression(error.to_string()))?,
                max_bytes,
            )
        }
        Some(other) => Err(BodyError::Encoding(other.to_owned())),
    }
}

fn bounded(reader: impl Read, max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut text = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(limit)
        .read_to_end(&mut text)
        .map_err(|error| BodyError::Compression(error.to_string()))?;
    if text.len() > max_bytes {
        return Err(BodyError::TooLarge(max_bytes));
    }
    Ok(text.into())
}

/// Splits a body into items. Lines are split only where the content type says so (`application/x-ndjson`), or where a
/// first object is followed by another on a line of its own.
///
/// # Errors
/// When the body as a whole is not of a known shape, or has too many items.
pub fn split(body: &[u8], ndjson: bool, max_items: usize) -> Result<Vec<RawItem<'_>>, BodyError> {
    let items = match first_byte(body) {
        None => return Err(BodyError::Json("the body is empty".into())),
        _ if ndjson => lines(body, max_items)?,
        Some(b'[') => {
            let list: Vec<&RawValue> =
                serde_json::from_slice(body).map_err(|error| BodyError::Json(error.to_string()))?;
            list.into_iter()
                .map(|raw| RawItem::Json(raw.get().as_bytes()))
                .collect()
        }
        Some(b'{') => match serde_json::from_slice::<&RawValue>(body) {
            Ok(raw) => vec![RawItem::Json(raw.get().as_bytes())],
            Err(error) if is_trailing_object(body, &error) => lines(body, max_items)?,
            Err(error) => {
                return Err(BodyError::Json(format!(
                    "{error} (lines of JSON are taken apart with content-type: application/x-ndjson)"
                )));
            }
        },
        Some(_) => {
            serde_json::from_slice::<&RawValue>(body).map_err(|error| BodyError::Json(error.to_string()))?;
            return Err(BodyError::Shape("another JSON value"));
        }
    };
    if items.len() > max_items {
        return Err(BodyError::TooMany(max_items));
    }
    Ok(items)
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

fn is_trailing_object(body: &[u8], error: &serde_json::Error) -> bool {
    error.line() > 1
        && error.column() == 1
        && error.to_string().starts_with("trailing characters")
        && body.contains(&b'\n')
}

fn lines(body: &[u8], max_items: usize) -> Result<Vec<RawItem<'_>>, BodyError> {
    let mut items = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() >= max_items {
            return Err(BodyError::TooMany(max_items));
        }
        items.push(match serde_json::from_slice::<&RawValue>(line) {
            Ok(_) => RawItem::Json(line),
            Err(error) => RawItem::Broken(line, format!("malformed JSON: {error}")),
        });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(body: &str, ndjson: bool, expected: Result<&[&str], &str>) {
        match (split(body.as_bytes(), ndjson, 3), expected) {
            (Ok(items), Ok(expected)) => {
                let shown: Vec<String> = items
                    .iter()
                    .map(|item| match item {
                        RawItem::Json(raw) => String::from_utf8_lossy(raw).into_owned(),
                        RawItem::Broken(raw, _) => format!("!{}", String::from_utf8_lossy(raw)),
                    })
                    .collect();
                assert_eq!(shown, expected, "{body}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{body}: {error}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    }

    #[test]
    fn bodies_split_into_items_and_bad_lines_stay_alone() {
        check(r#"{"a":1}"#, false, Ok(&[r#"{"a":1}"#]));
        check(r#" [{"a":1}, {"b":[2]}]"#, false, Ok(&[r#"{"a":1}"#, r#"{"b":[2]}"#]));
        check(
            "{\"a\":1}\n{bad\n\n{\"b\":2}\n",
            true,
            Ok(&[r#"{"a":1}"#, "!{bad", r#"{"b":2}"#]),
        );
        check("{\"a\":1}\n{\"b\":2}", false, Ok(&[r#"{"a":1}"#, r#"{"b":2}"#]));
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
}
