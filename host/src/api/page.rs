//! Pages of lists: where they begin, how long they may be, and how one says that it ended early. Knows no kind of item.

use std::ops::ControlFlow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::pieces::Pieces;

/// Most items of one page.
pub const MAX_PAGE_ITEMS: usize = 10_000;
/// Most items that a page may skip: those before it are found and thrown away.
pub const MAX_OFFSET: usize = 100_000;

/// Says that a page ended before its limit, and why: `bytes`, `time` or `items`.
const PARTIAL: HeaderName = HeaderName::from_static("x-donjon-partial");
/// The offset of the first item that is missing.
const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-donjon-next-offset");

/// A page of a list, as it is asked for.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
pub struct Page {
    /// Most items of the page.
    pub limit: Option<usize>,
    /// Items to skip.
    pub offset: Option<usize>,
}

/// A page that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most items.
    pub limit: usize,
    /// Items to skip.
    pub offset: usize,
    /// Whether more were asked for than a page may have.
    pub capped: bool,
}

impl Page {
    /// The page within what is allowed.
    ///
    /// # Errors
    /// 400 for an offset that is too large.
    pub fn bounds(self, default_limit: usize) -> Result<Bounds, ApiError> {
        let offset = self.offset.unwrap_or(0);
        if offset > MAX_OFFSET {
            return Err(ApiError::bad_request(format!(
                "offset must be at most {MAX_OFFSET}, narrow the list by a filter instead; found: {offset}"
            )));
        }
        let asked = self.limit.unwrap_or(default_limit);
        Ok(Bounds {
            limit: asked.min(MAX_PAGE_ITEMS),
            offset,
            capped: asked > MAX_PAGE_ITEMS,
        })
    }
}

impl Bounds {
    /// What has to be kept while the list is gone through.
    pub fn keep(self) -> usize {
        self.limit.saturating_add(self.offset)
    }
}

/// Why a page ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is large enough.
    Bytes,
    /// Its time is up.
    Time,
    /// It has as many items as a page may have, and nobody asked for fewer.
    Items,
}

impl Cut {
    fn word(self) -> &'static str {
        match self {
            Cut::Bytes => "bytes",
            Cut::Time => "time",
            Cut::Items => "items",
        }
    }
}

/// The items of an answer, printed one by one, so that no tree of them is kept. The first is taken whatever its size; what is there is
/// always the right beginning of the page.
pub struct Items {
    text: Pieces,
    count: usize,
    max_bytes: usize,
    cut: Option<Cut>,
}

impl Items {
    /// None yet.
    pub fn new(app: &App) -> Items {
        Items::with_limit(app.reads.max_answer_bytes())
    }

    fn with_limit(max_bytes: usize) -> Items {
        Items {
            text: Pieces::default(),
            count: 0,
            max_bytes,
            cut: None,
        }
    }

    /// Whether there is one.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the page is over.
    pub fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Ends the page here.
    pub fn cut(&mut self, why: Cut) -> ControlFlow<()> {
        self.cut = Some(why);
        ControlFlow::Break(())
    }

    /// A page that is full is told to be cut where more was asked for than fits on any.
    pub fn end_of(&mut self, page: Bounds) {
        if page.capped && self.count >= page.limit {
            self.cut.get_or_insert(Cut::Items);
        }
    }

    /// One more. A break says that it did not fit and the page is over.
    pub fn push(&mut self, item: &impl Serialize) -> ControlFlow<()> {
        let item = print(item);
        if self.count > 0 && item.len() >= self.max_bytes.saturating_sub(self.text.bytes()) {
            return self.cut(Cut::Bytes);
        }
        if self.count > 0 {
            self.text.push(b",".to_vec());
        }
        self.text.push(item);
        self.count += 1;
        ControlFlow::Continue(())
    }

    /// A plain list.
    pub fn into_list(mut self, offset: usize) -> Response<Pieces> {
        let (headers, _) = self.told(offset);
        self.text.put_first(b"[".to_vec());
        self.text.push(b"]".to_vec());
        respond(self.text, headers)
    }

    /// `{"limit": .., "offset": .., "count": .., "items": [..]}`; where the page ended early also `partial` and `next_offset`.
    pub fn into_object(mut self, page: Bounds, count: usize) -> Response<Pieces> {
        let (headers, more) = self.told(page.offset);
        let mut head = json!({"limit": page.limit, "offset": page.offset, "count": count});
        if let (Some(head), Some((why, next))) = (head.as_object_mut(), more) {
            head.insert("partial".into(), why.word().into());
            head.insert("next_offset".into(), next.into());
        }
        let head = print(&head);
        let head = head.strip_suffix(b"}").unwrap_or(&head);
        self.text.put_first([head, b",\"items\":["].concat());
        self.text.push(b"]}".to_vec());
        respond(self.text, headers)
    }

    fn told(&self, offset: usize) -> (HeaderMap, Option<(Cut, usize)>) {
        let mut headers = HeaderMap::new();
        let more = self.cut.map(|why| (why, offset.saturating_add(self.count)));
        if let Some((why, next)) = more {
            headers.insert(PARTIAL, HeaderValue::from_static(why.word()));
            headers.insert(NEXT_OFFSET, HeaderValue::from(next));
        }
        (headers, more)
    }
}

/// Prints one item.
pub fn print(item: &impl Serialize) -> Vec<u8> {
    // Writing to memory cannot fail, and no key is anything but a string.
    serde_json::to_vec(item).unwrap_or_else(|_| b"null".to_vec())
}

/// A body of JSON.
pub fn respond(body: impl Into<Pieces>, headers: HeaderMap) -> Response<Pieces> {
    let mut response = Response::new(body.into());
    *response.headers_mut() = headers;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn bounds(limit: Option<usize>, offset: Option<usize>) -> Option<(usize, usize)> {
        let bounds = Page { limit, offset }.bounds(25).ok()?;
        Some((bounds.limit, bounds.offset))
    }

    #[test]
    fn pages_are_bounded_on_both_sides() {
        assert_eq!(bounds(None, None), Some((25, 0)));
        assert_eq!(
            bounds(Some(usize::MAX), Some(MAX_OFFSET)),
            Some((MAX_PAGE_ITEMS, MAX_OFFSET))
        );
        assert_eq!(bounds(None, Some(MAX_OFFSET + 1)), None);
    }

    #[test]
    fn a_page_that_is_full_ends_early_and_says_where() {
        let mut items = Items::with_limit(30);
        let long = "x".repeat(40);
        assert!(items.push(&long).is_continue(), "the first one always fits");
        assert!(items.push(&"y").is_break());
        let answer = items.into_list(7);
        assert_eq!(answer.headers()["x-donjon-partial"], "bytes");
        assert_eq!(answer.headers()["x-donjon-next-offset"], "8");
        assert_eq!(
            answer.into_body().joined(),
            [b"[", print(&long).as_slice(), b"]"].concat()
        );

        let mut items = Items::with_limit(30);
        assert!(items.push(&1).is_continue() && items.push(&2).is_continue());
        let whole: Value = serde_json::from_slice(
            &items
                .into_object(
                    Bounds {
                        limit: 5,
                        offset: 0,
                        capped: false,
                    },
                    2,
                )
                .into_body()
                .joined(),
        )
        .unwrap();
        assert_eq!(whole, json!({"limit": 5, "offset": 0, "count": 2, "items": [1, 2]}));

        let mut items = Items::with_limit(30);
        assert!(items.push(&1).is_continue() && items.cut(Cut::Time).is_break());
        let part: Value = serde_json::from_slice(
            &items
                .into_object(
                    Bounds {
                        limit: 5,
                        offset: 3,
                        capped: false,
                    },
                    9,
                )
                .into_body()
                .joined(),
        )
        .unwrap();
        assert_eq!((&part["partial"], &part["next_offset"]), (&json!("time"), &json!(4)));
    }
}
