//! Lists whose items need a document of the journal: fetched one by one, so that a page of large documents is not in memory at once.

use donjon_core::{Seq, TenantId};
use donjon_store::journal::Entry;
use serde_json::Value;

use super::page::{Cut, Items};
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::reads::Pace;

/// An entry of the journal, if it is kept and the tenant's: whatever state says, nobody is shown another's alerts.
pub fn own_entry(app: &App, tenant: &TenantId, seq: Seq) -> Result<Option<Entry>, ApiError> {
    let entry = app
        .journal
        .get(seq)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(entry.filter(|entry| entry.tenant == *tenant))
}

/// Prints what `show` makes of each item of a page and its document, until the answer is large enough or its time is up.
///
/// # Errors
/// A document cannot be read; or there was no time for a single one.
pub fn print_each<T>(
    app: &App,
    tenant: &TenantId,
    pace: &Pace,
    items: &mut Items,
    page: &[(Seq, T)],
    mut show: impl FnMut(Seq, &T, Option<Entry>) -> Result<Value, ApiError>,
) -> Result<(), ApiError> {
    for (seq, item) in page {
        if items.is_empty() {
            pace.check()?;
        } else if pace.is_over() {
            let _ = items.cut(Cut::Time);
            break;
        }
        // In the order of the page, which is nearly that of the journal: neighbours find their block in the reader's cache.
        let shown = show(*seq, item, own_entry(app, tenant, *seq)?)?;
        if items.push(&shown).is_break() {
            break;
        }
    }
    Ok(())
}
