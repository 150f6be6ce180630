//! Alerts of one tenant for one call of a plugin, as flat as they cross the border of a component: lists of numbers and two
//! lists of bytes, so that handing over hundreds of alerts costs a few copies of memory and not thousands of allocations.
//! The lists are those of `batch` in the contract (`wit/deps/types/types.wit`). Knows no component.

use std::collections::HashMap;
use std::ops::Range;

use crate::ids::{Seq, TenantId, Timestamp};

const FALSE: u8 = 0;
const TRUE: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const JSON: u8 = 5;

/// One value of one alert. What is absent, or null, is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// A JSON boolean.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(&'a str),
    /// A list or an object, as JSON text.
    Json(&'a str),
}

/// Pieces of bytes one after the other. Each is named by its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Where each ends. It begins where the one before ends.
    pub ends: Vec<u32>,
}

impl Pieces {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The piece at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        piece(&self.bytes, &self.ends, at)
    }

    /// The text at a place, if it is one.
    #[must_use]
    pub fn text(&self, at: u32) -> Option<&str> {
        std::str::from_utf8(self.get(usize::try_from(at).ok()?)?).ok()
    }

    /// Adds a piece and answers its place.
    pub fn push(&mut self, piece: &[u8]) -> u32 {
        let at = count(self.ends.len());
        self.bytes.extend_from_slice(piece);
        self.ends.push(count(self.bytes.len()));
        at
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().map_or(0, |end| place(*end)));
    }
}

/// The piece at a place of a list of bytes and ends; none if there is no such piece.
#[must_use]
pub fn piece<'a>(bytes: &'a [u8], ends: &[u32], at: usize) -> Option<&'a [u8]> {
    bytes.get(range(ends, at)?)
}

/// From where to where the entries of something go, by the list of the ends of all; none if they are nowhere.
#[must_use]
pub fn range(ends: &[u32], at: usize) -> Option<Range<usize>> {
    let end = place(*ends.get(at)?);
    let begin = match at {
        0 => 0,
        at => place(*ends.get(at - 1)?),
    };
    (begin <= end).then_some(begin..end)
}

/// A count of the contract. A call is far smaller than what does not fit (`MAX_CALL_BYTES` and the largest body).
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// Alerts of one tenant in the order of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Whose alerts they are.
    pub tenant: TenantId,
    /// One an alert: its position in the journal.
    pub seqs: Vec<u64>,
    /// One an alert: when it was accepted.
    pub accepted: Vec<u64>,
    /// The names of columns and the texts of cells.
    pub texts: Pieces,
    /// One a column: the place of its name, a dotted path, among the texts.
    pub columns: Vec<u32>,
    /// One an alert: where its cells end in the lists below.
    pub cell_ends: Vec<u32>,
    /// One a cell: the place of its column.
    pub cell_columns: Vec<u16>,
    /// One a cell: what it is.
    pub cell_kinds: Vec<u8>,
    /// One a cell: the bits of a number, or the place of a text.
    pub cell_words: Vec<u64>,
    /// One an alert, or none if columns were asked for.
    pub documents: Pieces,
}

impl Batch {
    /// The number of alerts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Whether there are no alerts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// When the newest alert was accepted.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        Timestamp(self.accepted.last().copied().unwrap_or(0))
    }

    /// When the oldest alert was accepted.
    #[must_use]
    pub fn oldest(&self) -> Timestamp {
        Timestamp(self.accepted.first().copied().unwrap_or(0))
    }

    /// The names of the columns.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter_map(|at| self.texts.text(*at))
    }

    /// The value of a column of an alert; none if it has none.
    #[must_use]
    pub fn cell(&self, alert: usize, column: usize) -> Option<Cell<'_>> {
        let cells = range(&self.cell_ends, alert)?;
        let begin = cells.start;
        let columns = self.cell_columns.get(cells)?;
        let at = columns.binary_search(&u16::try_from(column).ok()?).ok()?;
        self.cell_at(begin + at)
    }

    fn cell_at(&self, at: usize) -> Option<Cell<'_>> {
        let word = *self.cell_words.get(at)?;
        let text = || self.texts.text(u32::try_from(word).ok()?);
        match *self.cell_kinds.get(at)? {
            FALSE => Some(Cell::Bool(false)),
            TRUE => Some(Cell::Bool(true)),
            INTEGER => Some(Cell::Int(word.cast_signed())),
            NUMBER => Some(Cell::Float(f64::from_bits(word))),
            TEXT => text().map(Cell::Text),
            JSON => text().map(Cell::Json),
            _ => None,
        }
    }

    /// The document of an alert.
    #[must_use]
    pub fn document(&self, alert: usize) -> Option<&[u8]> {
        self.documents.get(alert)
    }

    /// Bytes of all lists.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells = size_of::<u16>() + size_of::<u8>() + size_of::<u64>();
        let pieces = |pieces: &Pieces| pieces.bytes.len() + pieces.len() * size_of::<u32>();
        self.len() * (2 * size_of::<u64>() + size_of::<u32>())
            + self.columns.len() * size_of::<u32>()
            + self.cell_words.len() * cells
            + pieces(&self.texts)
            + pieces(&self.documents)
    }

    /// The alerts of a range of places, as a batch of their own with no more texts than they have. Places outside are left
    /// out.
    #[must_use]
    pub fn slice(&self, alerts: Range<usize>) -> Batch {
        let mut part = BatchBuilder::empty(self.tenant.clone());
        let mut texts: HashMap<u32, u32> = HashMap::new();
        for name in &self.columns {
            let at = part.carry(&self.texts, *name, &mut texts);
            part.batch.columns.push(at);
        }
        for alert in alerts.start.min(self.len())..alerts.end.min(self.len()) {
            for at in range(&self.cell_ends, alert).unwrap_or_default() {
                let (Some(column), Some(kind), Some(word)) = (
                    self.cell_columns.get(at),
                    self.cell_kinds.get(at),
                    self.cell_words.get(at),
                ) else {
                    continue;
                };
                let word = match (*kind, u32::try_from(*word)) {
                    (TEXT | JSON, Ok(text)) => u64::from(part.carry(&self.texts, text, &mut texts)),
                    _ => *word,
                };
                part.push_cell(*column, *kind, word);
            }
            if let Some(document) = self.documents.get(alert) {
                part.batch.documents.push(document);
            }
            let seq = self.seqs.get(alert).copied().unwrap_or_default();
            let accepted = self.accepted.get(alert).copied().unwrap_or_default();
            part.end_alert(Seq(seq), Timestamp(accepted));
        }
        part.batch
    }
}

/// Puts a batch together, alert by alert and column by column.
pub struct BatchBuilder {
    batch: Batch,
    /// By column, the place of the newest text in it: alerts that come together often have the same.
    newest: Vec<Option<u32>>,
}

/// How far a batch was put together, to go back to.
#[derive(Clone, Copy, Debug)]
pub struct BatchMark {
    texts: usize,
    cells: usize,
}

impl BatchBuilder {
    fn empty(tenant: TenantId) -> BatchBuilder {
        BatchBuilder {
            batch: Batch {
                tenant,
                seqs: Vec::new(),
                accepted: Vec::new(),
                texts: Pieces::default(),
                columns: Vec::new(),
                cell_ends: Vec::new(),
                cell_columns: Vec::new(),
                cell_kinds: Vec::new(),
                cell_words: Vec::new(),
                documents: Pieces::default(),
            },
            newest: Vec::new(),
        }
    }

    /// For so many alerts with these columns; none where documents are handed over.
    pub fn new<'a>(tenant: TenantId, alerts: usize, columns: impl Iterator<Item = &'a str>) -> BatchBuilder {
        let mut builder = BatchBuilder::empty(tenant);
        let batch = &mut builder.batch;
        for name in columns {
            let at = batch.texts.push(name.as_bytes());
            batch.columns.push(at);
        }
        builder.newest = vec![None; batch.columns.len()];
        batch.seqs.reserve_exact(alerts);
        batch.accepted.reserve_exact(alerts);
        batch.cell_ends.reserve_exact(alerts);
        builder
    }

    /// Gives the alert that is being put together a value. Columns come in ascending order.
    pub fn cell(&mut self, column: usize, cell: Cell<'_>) {
        let Ok(place) = u16::try_from(column) else { return };
        let (kind, word) = match cell {
            Cell::Bool(value) => (u8::from(value), 0),
            Cell::Int(value) => (INTEGER, value.cast_unsigned()),
            Cell::Float(value) => (NUMBER, value.to_bits()),
            Cell::Text(text) => (TEXT, u64::from(self.text(column, text))),
            Cell::Json(text) => (JSON, u64::from(self.text(column, text))),
        };
        self.push_cell(place, kind, word);
    }

    /// Gives the alert that is being put together its document.
    pub fn document(&mut self, document: &[u8]) {
        self.batch.documents.push(document);
    }

    /// The alert is complete.
    pub fn end_alert(&mut self, seq: Seq, accepted: Timestamp) {
        self.batch.seqs.push(seq.0);
        self.batch.accepted.push(accepted.0);
        self.batch.cell_ends.push(count(self.batch.cell_words.len()));
    }

    /// Before an alert.
    #[must_use]
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            texts: self.batch.texts.len(),
            cells: self.batch.cell_words.len(),
        }
    }

    /// Takes back the cells of an alert that was not completed, to end the batch before it.
    #[must_use]
    pub fn finish_at(mut self, mark: BatchMark) -> Batch {
        self.batch.texts.truncate(mark.texts);
        self.batch.cell_columns.truncate(mark.cells);
        self.batch.cell_kinds.truncate(mark.cells);
        self.batch.cell_words.truncate(mark.cells);
        self.batch
    }

    /// All alerts that were completed.
    #[must_use]
    pub fn finish(self) -> Batch {
        self.batch
    }

    fn push_cell(&mut self, column: u16, kind: u8, word: u64) {
        self.batch.cell_columns.push(column);
        self.batch.cell_kinds.push(kind);
        self.batch.cell_words.push(word);
    }

    fn text(&mut self, column: usize, text: &str) -> u32 {
        let texts = &mut self.batch.texts;
        let Some(newest) = self.newest.get_mut(column) else {
            return texts.push(text.as_bytes());
        };
        let known = newest.filter(|at| texts.get(place(*at)) == Some(text.as_bytes()));
        let at = known.unwrap_or_else(|| texts.push(text.as_bytes()));
        *newest = Some(at);
        at
    }

    /// The place of a text of another batch in this one.
    fn carry(&mut self, of: &Pieces, at: u32, known: &mut HashMap<u32, u32>) -> u32 {
        let text = of.get(place(at)).unwrap_or_default();
        *known.entry(at).or_insert_with(|| self.batch.texts.push(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three alerts: one with all kinds of cells, one with none, one that repeats texts.
    fn batch() -> Batch {
        let mut builder = BatchBuilder::new(TenantId::from("t"), 3, ["a", "b", "c"].into_iter());
        builder.cell(0, Cell::Text("x"));
        builder.cell(1, Cell::Int(-7));
        builder.cell(2, Cell::Json("[1]"));
        builder.end_alert(Seq(4), Timestamp(40));
        builder.end_alert(Seq(5), Timestamp(50));
        builder.cell(0, Cell::Text("x"));
        builder.cell(1, Cell::Float(0.5));
        builder.cell(2, Cell::Bool(true));
        builder.end_alert(Seq(6), Timestamp(60));
        builder.finish()
    }

    #[test]
    fn what_was_put_in_is_read_again_and_repeated_texts_lie_there_once() {
        let batch = batch();
        assert_eq!(batch.column_names().collect::<Vec<_>>(), ["a", "b", "c"]);
        let row = |alert| [0, 1, 2, 3].map(|column| batch.cell(alert, column));
        assert_eq!(
            row(0),
            [
                Some(Cell::Text("x")),
                Some(Cell::Int(-7)),
                Some(Cell::Json("[1]")),
                None
            ]
        );
        assert_eq!(row(1), [None; 4]);
        assert_eq!(
            row(2),
            [
                Some(Cell::Text("x")),
                Some(Cell::Float(0.5)),
                Some(Cell::Bool(true)),
                None
            ]
        );
        assert_eq!(batch.texts.bytes, b"abcx[1]");
        assert_eq!((batch.oldest(), batch.newest()), (Timestamp(40), Timestamp(60)));
    }

    #[test]
    fn a_slice_is_a_batch_of_its_own_with_its_own_texts() {
        let part = batch().slice(1..9);
        assert_eq!(
            (part.seqs.as_slice(), part.accepted.as_slice()),
            (&[5, 6][..], &[50, 60][..])
        );
        assert_eq!(part.texts.bytes, b"abcx");
        assert_eq!(part.cell(0, 0), None);
        assert_eq!(part.cell(1, 0), Some(Cell::Text("x")));
        assert_eq!(part.cell(1, 2), Some(Cell::Bool(true)));
        assert_eq!(batch().slice(0..3), batch());
        assert!(batch().slice(3..3).is_empty());
    }

    #[test]
    fn an_alert_that_does_not_fit_any_more_leaves_nothing_behind() {
        let mut builder = BatchBuilder::new(TenantId::from("t"), 2, ["a"].into_iter());
        builder.cell(0, Cell::Text("one"));
        builder.end_alert(Seq(1), Timestamp(1));
        let mark = builder.mark();
        builder.cell(0, Cell::Text("two"));
        let batch = builder.finish_at(mark);
        assert_eq!((batch.len(), batch.texts.bytes.as_slice()), (1, &b"aone"[..]));
        assert_eq!(batch.cell_words.len(), 1);
    }

    #[test]
    fn documents_are_handed_over_whole() {
        let mut builder = BatchBuilder::new(TenantId::from("t"), 2, std::iter::empty());
        for (at, document) in [b"{}".as_slice(), br#"{"a":1}"#].into_iter().enumerate() {
            builder.document(document);
            builder.end_alert(Seq(at as u64), Timestamp(9));
        }
        let batch = builder.finish();
        assert_eq!(batch.document(1), Some(br#"{"a":1}"#.as_slice()));
        assert_eq!(batch.slice(1..2).document(0), Some(br#"{"a":1}"#.as_slice()));
        assert_eq!(batch.cell(0, 0), None);
    }
}
