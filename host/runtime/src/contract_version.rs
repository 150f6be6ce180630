//! Which versions of the contract this host speaks. Knows no component.

/// `0.2` with any patch.
const API: (&str, &str) = ("0", "2");
pub(crate) const API_TEXT: &str = "0.2";

/// Whether this host speaks a version: before 1.0 the first two numbers decide.
pub(crate) fn is_spoken(version: &str) -> bool {
    let mut numbers = version.split('.');
    (numbers.next(), numbers.next()) == (Some(API.0), Some(API.1))
}
