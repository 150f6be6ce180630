//! What a plugin is handed of alerts: the columns that it reads, or documents. Nested columns repeat what is inside of them,
//! so that values, rows and calls have caps of their own; what does not fit is told. Knows no plugin.

use donjon_core::batch::{Batch, BatchBuilder, Cell, Column};
use donjon_core::limits::cut;
use donjon_core::{Object, TenantId, Value};

use super::Pending;
use crate::json;

/// Most bytes of alerts in one call; a single alert may be larger.
const MAX_CALL_BYTES: usize = 4 << 20;
/// Longest value of one column; longer text is cut, longer lists and objects are left out.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// All columns of one alert together; what comes beyond is left out.
const MAX_ROW_BYTES: usize = 1 << 20;
/// Columns that are named where some are cut.
const MAX_NAMED: usize = 3;
/// What a value takes beside its text: its column, its kind, its word and where its text ends.
const CELL_BYTES: usize = 2 + 1 + 8 + 4;

const _: () = assert!(MAX_VALUE_BYTES < MAX_ROW_BYTES && MAX_ROW_BYTES <= MAX_CALL_BYTES);
const _: () = assert!(
    MAX_CALL_BYTES * 8 <= 256 << 20,
    "a guest with the default memory holds a call many times"
);

/// A call's worth of alerts.
pub(super) struct Handed {
    /// The first ones of those asked for, as many as fit and at least one.
    pub(super) batch: Batch,
    /// Alerts that the plugin does not see as a whole, and why.
    pub(super) over: Vec<(usize, String)>,
}

/// Cuts the columns out of alerts, or prints the documents where no columns are given.
pub(super) fn hand(tenant: &TenantId, events: &[&mut Pending], columns: Option<&[Column]>) -> Handed {
    let names = columns.into_iter().flatten().map(|column| column.name.as_str());
    let mut builder = BatchBuilder::new(tenant.clone(), events.len(), names);
    let (mut bytes, mut over) = (0, Vec::new());
    for (at, event) in events.iter().enumerate() {
        let (mark, attributes) = (builder.mark(), &event.event.alert.attributes);
        let document = columns.is_none().then(|| json::object_to_vec(attributes));
        let row = columns.map_or_else(Row::default, |columns| put_row(&mut builder, attributes, columns));
        bytes += document.as_ref().map_or(row.bytes, Vec::len);
        if at > 0 && bytes > MAX_CALL_BYTES {
            return Handed {
                batch: builder.finish_at(mark),
                over,
            };
        }
        if let Some(document) = document {
            builder.document(&document);
        }
        over.extend(row.over.map(|why| (at, why)));
        builder.end_alert(event.event.seq, event.event.accepted);
    }
    Handed {
        batch: builder.finish(),
        over,
    }
}

/// What an alert takes, and what it is told if the plugin does not see all of it.
#[derive(Default)]
struct Row {
    bytes: usize,
    over: Option<String>,
}

fn put_row(builder: &mut BatchBuilder, attributes: &Object, columns: &[Column]) -> Row {
    let mut text_bytes = 0;
    let (mut named, mut over) = (Vec::new(), 0_usize);
    for (at, column) in columns.iter().enumerate() {
        let Some(value) = attributes.at(&column.path) else {
            continue;
        };
        let left = MAX_VALUE_BYTES.min(MAX_ROW_BYTES - text_bytes);
        let is_whole = put_cell(builder, at, value, left, &mut text_bytes);
        if !is_whole {
            over += 1;
            if named.len() < MAX_NAMED {
                named.push(column.name.as_str());
            }
        }
    }
    let text = || {
        let names = named.join(", ");
        format!(
            "{over} of the attributes it reads are cut or left out, over the limit of {MAX_VALUE_BYTES} bytes each and \
             {MAX_ROW_BYTES} bytes together: {names}"
        )
    };
    Row {
        bytes: text_bytes + columns.len() * CELL_BYTES,
        over: (over > 0).then(text),
    }
}

/// Hands a value over where it takes no more than is left; answers whether it went over whole.
fn put_cell(builder: &mut BatchBuilder, column: usize, value: &Value, left: usize, text_bytes: &mut usize) -> bool {
    let mut put = |cell: Cell<'_>, bytes: usize| {
        builder.cell(column, cell);
        *text_bytes += bytes;
    };
    match value {
        Value::Null => {}
        Value::Bool(value) => put(Cell::Bool(*value), 0),
        Value::Int(value) => put(Cell::Int(*value), 0),
        Value::Float(value) => put(Cell::Float(*value), 0),
        Value::Text(text) if text.len() <= left => put(Cell::Text(text), text.len()),
        // The beginning of a text is worth something, but what is left of a row may be a letter.
        Value::Text(text) => {
            if left == MAX_VALUE_BYTES {
                let kept = cut(text, left);
                put(Cell::Text(kept), kept.len());
            }
            return false;
        }
        Value::List(_) | Value::Object(_) => {
            let json = json::to_text_at_most(value, left);
            if json.len() > left {
                // Cut JSON is none.
                return false;
            }
            put(Cell::Json(&json), json.len());
        }
    }
    true
}

#[cfg(test)]
#[path = "handed_tests.rs"]
mod tests;
