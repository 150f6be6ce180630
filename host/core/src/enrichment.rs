//! What enrichers may change about one alert: how many changes, and how much of them, is kept. Checked before a change
//! is applied, so that what rules see and what people are shown is the same. Knows no plugin and no JSON text.

use crate::limits::{MAX_ENRICHMENT_BYTES, MAX_ENRICHMENTS_PER_ALERT};

/// A change: the dotted path, and the JSON text that was set; none for removed.
pub type Enrichment = (String, Option<String>);

/// Why a change is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// Too many changes.
    #[error("an alert takes at most {MAX_ENRICHMENTS_PER_ALERT} changes")]
    Count,
    /// Too much text.
    #[error("all changes of an alert together take at most {MAX_ENRICHMENT_BYTES} bytes")]
    Bytes,
}

/// Whether one more change fits beside those that are known.
///
/// # Errors
/// When it does not.
pub fn fits(known: &[Enrichment], path: &str, json: Option<&str>) -> Result<(), OverBudget> {
    if known.len() >= MAX_ENRICHMENTS_PER_ALERT {
        return Err(OverBudget::Count);
    }
    let taken: usize = known.iter().map(|(path, json)| size(path, json.as_deref())).sum();
    if taken.saturating_add(size(path, json)) > MAX_ENRICHMENT_BYTES {
        return Err(OverBudget::Bytes);
    }
    Ok(())
}

fn size(path: &str, json: Option<&str>) -> usize {
    path.len().saturating_add(json.map_or(0, str::len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_changes_is_bounded_in_number_and_bytes() {
        let change = |bytes: usize| ("p".to_owned(), Some("v".repeat(bytes - 1)));
        let half = change(MAX_ENRICHMENT_BYTES / 2);
        let known = [half.clone()];
        assert_eq!(fits(&known, &half.0, half.1.as_deref()), Ok(()));
        assert_eq!(fits(&known, "pp", half.1.as_deref()), Err(OverBudget::Bytes));
        let many = vec![("p".to_owned(), None); MAX_ENRICHMENTS_PER_ALERT];
        assert_eq!(fits(&many, "p", None), Err(OverBudget::Count));
        assert_eq!(fits(&many[1..], "p", None), Ok(()));
    }
}
