//! Points and lengths of time: RFC 3339 and duration texts in and out, exact to the nanosecond.
//!
//! Must not know: what time it is. There is no clock in this crate.

use std::fmt;

const SECOND: i128 = 1_000_000_000;
/// 0001-01-01T00:00:00Z and the last second of the year 9999, as CEL bounds them.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10,000 years, as CEL bounds durations.
const LONGEST: i128 = 315_576_000_000 * SECOND;

/// A point in time between the years 1 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp {
    /// Since 1970-01-01T00:00:00Z.
    seconds: i64,
    nanos: u32,
}

/// A length of time, negative lengths with positive `nanos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duration {
    seconds: i64,
    nanos: u32,
}

/// Whole seconds, rounded down, and the rest.
fn halves(nanos: i128) -> Option<(i64, u32)> {
    Some((
        i64::try_from(nanos.div_euclid(SECOND)).ok()?,
        u32::try_from(nanos.rem_euclid(SECOND)).ok()?,
    ))
}

impl Duration {
    /// `None` beyond 10,000 years.
    pub(crate) fn from_nanos(nanos: i128) -> Option<Self> {
        let (seconds, nanos) = halves(nanos).filter(|_| nanos.abs() <= LONGEST)?;
        Some(Self { seconds, nanos })
    }

    pub(crate) fn nanos(self) -> i128 {
        i128::from(self.seconds) * SECOND + i128::from(self.nanos)
    }

    /// Reads `1h30m`, `-1.5s`, `300ms`, `0`: units h, m, s, ms, us, µs, ns.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sign, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Self::from_nanos(0);
        }
        let mut nanos = 0_i128;
        loop {
            let (whole, after) = digits(rest);
            let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
            if whole.is_empty() && fraction.is_empty() {
                return None;
            }
            let (unit, after) = unit(after)?;
            nanos = nanos
                .checked_add(scaled(whole, fraction, unit)?)
                .filter(|nanos| *nanos <= LONGEST)?;
            rest = after;
            if rest.is_empty() {
                return Self::from_nanos(sign * nanos);
            }
        }
    }
}

/// The leading digits and what follows.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A unit in nanoseconds and what follows it.
fn unit(text: &str) -> Option<(i128, &str)> {
    let units = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", 3_600 * SECOND),
    ];
    units
        .into_iter()
        .find_map(|(name, nanos)| Some((nanos, text.strip_prefix(name)?)))
}

/// `whole.fraction` times a unit; digits beyond the eighteenth are dropped.
fn scaled(whole: &str, fraction: &str, unit: i128) -> Option<i128> {
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole
            .get(..whole.len().min(19))
            .filter(|kept| *kept == whole)?
            .parse()
            .ok()?
    };
    let fraction = fraction.get(..fraction.len().min(18))?;
    let power = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)? / power)
}

impl fmt::Display for Duration {
    /// Seconds with as many decimals as needed: `90s`, `-1.5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nanos();
        let (whole, rest) = (total.abs() / SECOND, total.abs() % SECOND);
        write!(f, "{}{whole}{}s", if total < 0 { "-" } else { "" }, Fraction(rest))
    }
}

/// The decimals of a second, without trailing zeros.
struct Fraction(i128);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        let decimals = format!("{:09}", self.0);
        write!(f, ".{}", decimals.trim_end_matches('0'))
    }
}

impl Timestamp {
    /// `None` outside of the years 1 to 9999.
    pub(crate) fn from_nanos(nanos: i128) -> Option<Self> {
        let (seconds, nanos) = halves(nanos).filter(|(seconds, _)| SECONDS.contains(seconds))?;
        Some(Self { seconds, nanos })
    }

    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        Self::from_nanos(i128::from(seconds) * SECOND)
    }

    /// Seconds since 1970, rounded down.
    pub(crate) fn seconds(self) -> i64 {
        self.seconds
    }

    pub(crate) fn nanos(self) -> i128 {
        i128::from(self.seconds) * SECOND + i128::from(self.nanos)
    }

    /// Reads RFC 3339. A blank for the `T` and a missing offset (then UTC) are accepted too, as alert payloads hold such times.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader(text);
        let (year, month, day) = (
            reader.number(4)?,
            reader.after('-')?.number(2)?,
            reader.after('-')?.number(2)?,
        );
        reader.one_of(&['T', 't', ' '])?;
        let (hour, minute, second) = (
            reader.number(2)?,
            reader.after(':')?.number(2)?,
            reader.after(':')?.number(2)?,
        );
        let nanos = reader.fraction()?;
        let offset = reader.offset()?;
        let valid = year >= 1 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        // 60 is a leap second, which counts as the second after it.
        if !valid || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let seconds = days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
        Self::from_nanos(i128::from(seconds) * SECOND + nanos)
    }
}

/// Takes the parts of a timestamp off the front of a text.
struct Reader<'t>(&'t str);

impl Reader<'_> {
    fn number(&mut self, width: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(width)?;
        self.0 = rest;
        if number.bytes().all(|byte| byte.is_ascii_digit()) {
            number.parse().ok()
        } else {
            None
        }
    }

    fn after(&mut self, mark: char) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(mark)?;
        Some(self)
    }

    fn one_of(&mut self, marks: &[char]) -> Option<()> {
        self.0 = self.0.strip_prefix(marks)?;
        Some(())
    }

    fn fraction(&mut self) -> Option<i128> {
        let Some(rest) = self.0.strip_prefix('.') else {
            return Some(0);
        };
        let (fraction, rest) = digits(rest);
        self.0 = rest;
        if fraction.is_empty() {
            None
        } else {
            scaled("", fraction, SECOND)
        }
    }

    /// Offset from UTC in seconds; nothing may follow it.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.0 {
            "" | "Z" | "z" => return Some(0),
            text if text.starts_with('-') => -1,
            text if text.starts_with('+') => 1,
            _ => return None,
        };
        self.one_of(&['+', '-'])?;
        let (hours, minutes) = (self.number(2)?, self.after(':')?.number(2)?);
        if self.0.is_empty() && hours < 24 && minutes < 60 {
            Some(sign * (hours * 3_600 + minutes * 60))
        } else {
            None
        }
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, by the usual arithmetic of a calendar that starts in March.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day counted from 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (
        year + era * 400 + i64::from(month <= 2),
        month,
        of_year - (153 * march + 2) / 5 + 1,
    )
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let fraction = Fraction(i128::from(self.nanos));
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"
        )
    }
}
