//! A batch as authors see it: alerts with values, read in place from the flat lists that crossed the border.
//!
//! Nothing is copied or allocated for an alert or a cell. The host is trusted, and still no list of it can make a view
//! panic: what does not fit together reads as null.

use std::ops::Range;

use crate::types::{Error, Timestamp};
use crate::wire::{self, kind};

/// Alerts of the tenant of this instance, in the order of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// All lists but that of the texts, which is `texts`.
    lists: wire::Batch,
    texts: String,
}

/// The place of a column among those of a batch: faster than its path where many alerts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Column(u16);

impl Column {
    /// Counted from 0.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// A text of the batch, to be handed back without a copy. Means nothing beside another batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextId(pub(crate) u32);

/// The value of one attribute of one alert.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// The attribute is absent, or JSON null, or was not asked for: they are the same to a rule.
    #[default]
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// A JSON number without a fraction that fits in 64 bits.
    Int(i64),
    /// Any other JSON number.
    Float(f64),
    /// A JSON string.
    Text(&'a str),
    /// A JSON list or object, as JSON text.
    Json(&'a str),
}

impl<'a> Value<'a> {
    /// The text of a JSON string; none for every other kind of value.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number without a fraction; none for every other kind of value.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// Whether the attribute is absent or JSON null.
    pub fn is_null(self) -> bool {
        matches!(self, Value::Null)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl Batch {
    /// Views of lists that crossed the border. The texts are checked once, so that a view costs no more than two look-ups.
    #[doc(hidden)]
    pub fn from_wire(mut lists: wire::Batch) -> Result<Self, Error> {
        let texts = String::from_utf8(std::mem::take(&mut lists.texts))
            .map_err(|error| Error::invalid(format!("the texts of the batch are no UTF-8: {error}")))?;
        Ok(Batch { lists, texts })
    }

    /// The lists again, for whoever measures or tests the border.
    #[doc(hidden)]
    pub fn into_wire(self) -> wire::Batch {
        wire::Batch {
            texts: self.texts.into_bytes(),
            ..self.lists
        }
    }

    /// The number of alerts.
    pub fn len(&self) -> usize {
        self.lists.seqs.len()
    }

    /// Whether there is no alert.
    pub fn is_empty(&self) -> bool {
        self.lists.seqs.is_empty()
    }

    /// All alerts.
    pub fn alerts(&self) -> impl DoubleEndedIterator<Item = Alert<'_>> {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        (0..count).map(|index| Alert { batch: self, index })
    }

    /// All columns with their paths, those asked for by `wants` first and in that order.
    pub fn columns(&self) -> impl Iterator<Item = (Column, &str)> {
        let path = |id: &u32| self.text(TextId(*id)).unwrap_or_default();
        (0..=u16::MAX).map(Column).zip(self.lists.columns.iter().map(path))
    }

    /// The number of columns.
    pub fn column_count(&self) -> usize {
        self.lists.columns.len()
    }

    /// The column of a path; none if nobody asked for it.
    pub fn column(&self, path: &str) -> Option<Column> {
        self.columns()
            .find(|(_, other)| *other == path)
            .map(|(column, _)| column)
    }

    /// A text of the batch.
    pub fn text(&self, id: TextId) -> Option<&str> {
        let id = usize::try_from(id.0).ok()?;
        self.texts.get(piece(&self.lists.text_ends, id)?)
    }

    /// The number of texts: the ids of texts that findings bring along begin here.
    pub(crate) fn text_count(&self) -> usize {
        self.lists.text_ends.len()
    }

    /// The value of a cell, by its number among all cells.
    fn cell(&self, number: usize) -> Value<'_> {
        let kinds_and_words = (self.lists.cell_kinds.get(number), self.lists.cell_words.get(number));
        let (Some(kind), Some(word)) = kinds_and_words else {
            return Value::Null;
        };
        let text = || self.text(text_id(*word)?);
        match *kind {
            kind::FALSE => Value::Bool(false),
            kind::TRUE => Value::Bool(true),
            kind::INTEGER => Value::Int(word.cast_signed()),
            kind::NUMBER => Value::Float(f64::from_bits(*word)),
            kind::TEXT => text().map_or(Value::Null, Value::Text),
            kind::JSON => text().map_or(Value::Null, Value::Json),
            _ => Value::Null,
        }
    }
}

/// The part of a list that belongs to a place, by the list of their ends; none if the ends are crooked.
fn piece(ends: &[u32], place: usize) -> Option<Range<usize>> {
    let end = *ends.get(place)?;
    let start = match place.checked_sub(1) {
        Some(before) => *ends.get(before)?,
        None => 0,
    };
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn text_id(word: u64) -> Option<TextId> {
    u32::try_from(word).ok().map(TextId)
}

/// One alert of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Alert<'a> {
    batch: &'a Batch,
    index: u32,
}

impl<'a> Alert<'a> {
    /// Its place in the batch.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Its position in the journal.
    pub fn seq(self) -> u64 {
        self.place(&self.batch.lists.seqs)
    }

    /// When it was accepted. There is no other clock.
    pub fn accepted(self) -> Timestamp {
        self.place(&self.batch.lists.accepted)
    }

    /// The value at a path that was asked for; [`Value::Null`] for every other.
    pub fn value(self, path: &str) -> Value<'a> {
        self.batch
            .column(path)
            .map_or(Value::Null, |column| self.value_at(column))
    }

    /// The text at a path that was asked for; none if it is absent or no text.
    pub fn text(self, path: &str) -> Option<&'a str> {
        self.value(path).as_text()
    }

    /// The value in a column.
    pub fn value_at(self, column: Column) -> Value<'a> {
        self.find(column).map_or(Value::Null, |number| self.batch.cell(number))
    }

    /// The text in a column, to be handed back without a copy; none if it is absent or no text.
    pub fn text_id_at(self, column: Column) -> Option<TextId> {
        let lists = &self.batch.lists;
        let number = self.find(column)?;
        let is_text = lists.cell_kinds.get(number) == Some(&kind::TEXT);
        lists
            .cell_words
            .get(number)
            .filter(|_| is_text)
            .and_then(|word| text_id(*word))
    }

    /// The columns that it has values in.
    pub fn columns(self) -> impl Iterator<Item = Column> {
        let columns = self.batch.lists.cell_columns.get(self.cell_numbers());
        columns.unwrap_or_default().iter().map(|column| Column(*column))
    }

    /// The values that are there, by column: the cheapest way to read many.
    pub fn cells(self) -> impl Iterator<Item = (Column, Value<'a>)> {
        let cells = self.cell_numbers().map(|number| self.batch.cell(number));
        self.columns().zip(cells)
    }

    /// The canonical JSON, UTF-8, for a plugin that wants documents; empty for one that wants columns.
    pub fn document(self) -> &'a [u8] {
        let lists = &self.batch.lists;
        usize::try_from(self.index)
            .ok()
            .and_then(|index| lists.documents.get(piece(&lists.document_ends, index)?))
            .unwrap_or_default()
    }

    /// The batch that it is part of.
    pub fn batch(self) -> &'a Batch {
        self.batch
    }

    fn place(self, list: &[u64]) -> u64 {
        let place = usize::try_from(self.index).ok().and_then(|index| list.get(index));
        place.copied().unwrap_or_default()
    }

    fn cell_numbers(self) -> Range<usize> {
        let place = usize::try_from(self.index).unwrap_or(usize::MAX);
        piece(&self.batch.lists.cell_ends, place).unwrap_or_default()
    }

    /// The number of the cell in a column; they lie in ascending order.
    fn find(self, column: Column) -> Option<usize> {
        let numbers = self.cell_numbers();
        let columns = self.batch.lists.cell_columns.get(numbers.clone())?;
        let place = columns.binary_search(&column.0).ok()?;
        numbers.start.checked_add(place)
    }
}
