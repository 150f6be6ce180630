//! RFC 3339 in and out. Knows no clock.

use donjon_core::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

/// Three digits of a second, always: what the reference prints, and it sorts as text.
static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub fn format(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => PRINTER.timestamp_to_string(&at),
        Err(_) => format!("{ms}"),
    }
}

/// Reads ISO 8601 with or without zone (without: UTC), or Unix seconds as text with an optional trailing Z.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return from_ms(at.as_millisecond());
    }
    if let Ok(local) = text.trim_end_matches('Z').parse::<jiff::civil::DateTime>() {
        return from_ms(local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
    }
    from_seconds(text.trim_end_matches('Z').parse::<f64>().ok()?)
}

/// Reads Unix seconds.
pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
    /// The last moment that prints as a date (9999-12-30): beyond it a number is not seconds.
    const MAX_SECONDS: f64 = 253_402_207_200.0;
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded and positive, checked above"
    )]
    Some(Timestamp((seconds * 1000.0).round() as u64))
}

fn from_ms(ms: i64) -> Option<Timestamp> {
    u64::try_from(ms).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_the_reference_takes() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse(text).map(format).as_deref(), expected, "{text}");
        };
        check("2026-11-21T03:10:20.764Z", Some("2026-11-21T03:10:20.764Z"));
        check("2026-11-21T04:10:20+01:00", Some("2026-11-21T03:10:20.000Z"));
        check("2026-11-21T03:10:20.123456789Z", Some("2026-11-21T03:10:20.123Z"));
        check("2026-11-21T03:10:20", Some("2026-11-21T03:10:20.000Z"));
        check("2026-11-21 03:10:20.852000", Some("2026-11-21T03:10:20.852Z"));
        check("1764000000", Some("2025-11-24T16:00:00.000Z"));
        check("1764000000.5Z", Some("2025-11-24T16:00:00.500Z"));
        check("yesterday", None);
        check("", None);
        check("-5", None);
        check("1e300", None);
        check("253402300000", None);
        check("253402207200", Some("9999-12-30T22:00:00.000Z"));
    }
}
