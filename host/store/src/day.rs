//! Days of UTC as numbers, and their names in file names. Knows no clock and no time zone.

use std::fmt;

use donjon_core::Timestamp;

const MS_PER_DAY: u64 = 86_400_000;
/// 9999-12-31: names of files have four digits for the year.
const LAST_DAY: u32 = 2_932_896;

/// A day of UTC, counted from 1970-01-01; shown as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// The day of a time; times after the year 9999 count as its last day.
    #[must_use]
    pub fn of(time: Timestamp) -> Day {
        Day(u32::try_from(time.0 / MS_PER_DAY).unwrap_or(LAST_DAY).min(LAST_DAY))
    }

    /// `YYYYMMDD`.
    #[must_use]
    pub fn compact(self) -> String {
        let (year, month, day) = self.civil();
        format!("{year:04}{month:02}{day:02}")
    }

    /// Reads `YYYYMMDD`; `None` for anything else, dates that do not exist included.
    #[must_use]
    pub fn parse_compact(text: &str) -> Option<Day> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = |range| text.get(range).and_then(|digits: &str| digits.parse::<u32>().ok());
        let day = Day::from_civil(number(0..4)?, number(4..6)?, number(6..8)?)?;
        (day.compact() == text).then_some(day)
    }

    /// Year, month (1-12) and day (1-31) of the proleptic Gregorian calendar: the year is taken to begin in March, so
    /// that the leap day is its last.
    fn civil(self) -> (u32, u32, u32) {
        let days = self.0.min(LAST_DAY) + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        (era * 400 + year_of_era + u32::from(month <= 2), month, day)
    }

    fn from_civil(year: u32, month: u32, day: u32) -> Option<Day> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let year = year - u32::from(month <= 2);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let year_of_era = year % 400;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (year / 400 * 146_097 + day_of_era).checked_sub(719_468).map(Day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_have_their_names() {
        let check = |day: u32, name: &str| assert_eq!(Day(day).to_string(), name);
        check(0, "1970-01-01");
        check(59, "1970-03-01");
        check(11_016, "2000-02-29");
        check(19_723, "2024-01-01");
        check(LAST_DAY, "9999-12-31");
        assert_eq!(Day::of(Timestamp(MS_PER_DAY - 1)), Day(0));
        assert_eq!(Day::of(Timestamp(u64::MAX)), Day(LAST_DAY));
    }

    #[test]
    fn every_day_reads_what_it_prints() {
        for day in (0..=LAST_DAY).step_by(7).chain(11_000..11_100) {
            assert_eq!(Day::parse_compact(&Day(day).compact()), Some(Day(day)));
        }
        for bad in [
            "20230229", "19691231", "2023-1-1", "20231301", "20230100", "+0230101", "",
        ] {
            assert_eq!(Day::parse_compact(bad), None, "{bad}");
        }
    }
}
