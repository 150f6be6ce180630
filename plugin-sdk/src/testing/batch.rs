//! Builds batches for tests: what the host would hand over for these alerts.

use std::collections::HashMap;

use crate::batch::{Batch, Value};
use crate::types::{Timestamp, Wanted};
use crate::wire::{self, kind};

/// The first alert is accepted then, unless the test says otherwise.
const FIRST_ACCEPTED: Timestamp = 1_000;

/// Begin a batch.
///
/// ```
/// use donjon_plugin::testing;
///
/// let batch = testing::batch()
///     .alert([("name", "disk full"), ("labels.host", "db-1")])
///     .alert([("load", 5)])
///     .build();
/// assert_eq!(batch.alerts().next().unwrap().text("labels.host"), Some("db-1"));
/// ```
pub fn batch() -> BatchBuilder {
    BatchBuilder {
        lists: wire::Batch::default(),
        text_ids: HashMap::new(),
        columns: HashMap::new(),
        only_columns: false,
        next_seq: 1,
        accepted: FIRST_ACCEPTED,
    }
}

/// A batch that is being built.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    lists: wire::Batch,
    text_ids: HashMap<String, u32>,
    columns: HashMap<String, u16>,
    /// Whether only the columns that are there already are handed over.
    only_columns: bool,
    next_seq: u64,
    accepted: Timestamp,
}

impl BatchBuilder {
    /// The first columns, in this order. Others are added as alerts have them.
    #[must_use]
    pub fn columns<'p>(mut self, paths: impl IntoIterator<Item = &'p str>) -> Self {
        for path in paths {
            self.column(path);
        }
        self
    }

    /// The columns that a plugin wants and no others, as the host hands them over.
    #[must_use]
    pub fn wanted(mut self, wanted: &Wanted) -> Self {
        self = self.columns(wanted.columns.iter().map(String::as_str));
        self.only_columns = true;
        self
    }

    /// When the alerts from here on were accepted.
    #[must_use]
    pub fn accepted(mut self, accepted: Timestamp) -> Self {
        self.accepted = accepted;
        self
    }

    /// The position in the journal of the next alert; those after it follow one by one.
    #[must_use]
    pub fn seq(mut self, seq: u64) -> Self {
        self.next_seq = seq;
        self
    }

    /// Add an alert with values at paths. For values of several kinds: `[("name", Value::from("a")), ("load", 5.into())]`.
    #[must_use]
    pub fn alert<'v, V: Into<Value<'v>>>(mut self, values: impl IntoIterator<Item = (&'v str, V)>) -> Self {
        let mut cells: Vec<(u16, u8, u64)> = Vec::new();
        for (path, value) in values {
            let known = self.columns.get(path).copied();
            let column = if self.only_columns { known } else { self.column(path) };
            let cell = self.cell(value.into());
            if let (Some(column), Some((kind, word))) = (column, cell) {
                cells.push((column, kind, word));
            }
        }
        cells.sort_unstable();
        cells.dedup_by_key(|(column, ..)| *column);
        for (column, kind, word) in cells {
            self.lists.cell_columns.push(column);
            self.lists.cell_kinds.push(kind);
            self.lists.cell_words.push(word);
        }
        self.finish_alert();
        self
    }

    /// Add an alert as its JSON, for a plugin that wants documents.
    #[must_use]
    pub fn document(mut self, json: &str) -> Self {
        self.lists.documents.extend_from_slice(json.as_bytes());
        self.lists.document_ends.push(length(&self.lists.documents));
        self.finish_alert();
        self
    }

    /// The batch.
    pub fn build(self) -> Batch {
        Batch::from_wire(self.lists).unwrap_or_default()
    }

    fn finish_alert(&mut self) {
        self.lists.seqs.push(self.next_seq);
        self.lists.accepted.push(self.accepted);
        self.lists.cell_ends.push(length(&self.lists.cell_columns));
        self.next_seq = self.next_seq.saturating_add(1);
    }

    /// None once there are as many as a batch can have.
    fn column(&mut self, path: &str) -> Option<u16> {
        if let Some(place) = self.columns.get(path) {
            return Some(*place);
        }
        let place = u16::try_from(self.lists.columns.len()).ok()?;
        let id = self.text(path);
        self.lists.columns.push(id);
        self.columns.insert(path.to_owned(), place);
        Some(place)
    }

    fn cell(&mut self, value: Value<'_>) -> Option<(u8, u64)> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(false) => (kind::FALSE, 0),
            Value::Bool(true) => (kind::TRUE, 0),
            Value::Int(number) => (kind::INTEGER, number.cast_unsigned()),
            Value::Float(number) => (kind::NUMBER, number.to_bits()),
            Value::Text(text) => (kind::TEXT, self.text(text).into()),
            Value::Json(json) => (kind::JSON, self.text(json).into()),
        })
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let id = length(&self.lists.text_ends);
        self.lists.texts.extend_from_slice(text.as_bytes());
        self.lists.text_ends.push(length(&self.lists.texts));
        self.text_ids.insert(text.to_owned(), id);
        id
    }
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
