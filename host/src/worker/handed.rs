//! What a plugin is handed of alerts: the columns that it reads, or documents. Nested columns repeat what is inside of them,
//! so that values, rows and calls have caps of their own; what does not fit is told. Knows no plugin.

use donjon_core::batch::{Batch, Column, Scalar};
use donjon_core::{Object, TenantId, Timestamp, Value};

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
/// What a value takes beside its text.
const SCALAR_BYTES: usize = size_of::<Scalar>();

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
pub(super) fn hand(
    (tenant, now): (&TenantId, Timestamp),
    events: &[&mut Pending],
    columns: Option<&[Column]>,
) -> Handed {
    let mut handed = Handed {
        batch: Batch {
            tenant: tenant.clone(),
            now,
            keys: Vec::with_capacity(events.len()),
            columns: columns
                .into_iter()
                .flatten()
                .map(|column| column.name.clone())
                .collect(),
            rows: Vec::new(),
            documents: Vec::new(),
        },
        over: Vec::new(),
    };
    let mut bytes = 0;
    for (at, event) in events.iter().enumerate() {
        bytes += match columns {
            Some(columns) => {
                let row = row_of(&event.event.alert.attributes, columns);
                if at > 0 && bytes + row.bytes > MAX_CALL_BYTES {
                    break;
                }
                handed.batch.rows.push(row.values);
                handed.over.extend(row.over.map(|why| (at, why)));
                row.bytes
            }
            None => {
                let document = json::object_to_vec(&event.event.alert.attributes);
                if at > 0 && bytes + document.len() > MAX_CALL_BYTES {
                    break;
                }
                let size = document.len();
                handed.batch.documents.push(document);
                size
            }
        };
        let key = (event.event.event_id.clone(), event.event.alert.fingerprint.clone());
        handed.batch.keys.push(key);
    }
    handed
}

struct Row {
    values: Vec<Scalar>,
    bytes: usize,
    over: Option<String>,
}

fn row_of(attributes: &Object, columns: &[Column]) -> Row {
    let (mut values, mut bytes) = (Vec::with_capacity(columns.len()), 0);
    let (mut named, mut over) = (Vec::new(), 0_usize);
    for column in columns {
        let left = MAX_VALUE_BYTES.min(MAX_ROW_BYTES - bytes);
        let (mut value, is_over) = column.of(attributes, left, json::to_text_at_most);
        if is_over {
            // The beginning of a text is worth something; cut JSON is none, and what is left of a row may be a letter.
            let is_text = matches!(attributes.at(&column.path), Some(Value::Text(_)));
            if !is_text || left < MAX_VALUE_BYTES {
                value = Scalar::Null;
            }
        }
        bytes += text_bytes(&value);
        if is_over {
            over += 1;
            if named.len() < MAX_NAMED {
                named.push(column.name.as_str());
            }
        }
        values.push(value);
    }
    let text = || {
        let names = named.join(", ");
        format!(
            "{over} of the attributes it reads are cut or left out, over the limit of {MAX_VALUE_BYTES} bytes each and \
             {MAX_ROW_BYTES} bytes together: {names}"
        )
    };
    Row {
        bytes: bytes + values.len() * SCALAR_BYTES,
        over: (over > 0).then(text),
        values,
    }
}

fn text_bytes(value: &Scalar) -> usize {
    match value {
        Scalar::Text(text) | Scalar::Json(text) => text.len(),
        Scalar::Null | Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => 0,
    }
}

#[cfg(test)]
#[path = "handed_tests.rs"]
mod tests;
