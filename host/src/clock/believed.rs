//! Which time is believed: the clock of the machine as long as it runs like its monotonic clock, which nobody sets. Times
//! in the journal decide about windows, so one wrong second must not open, or keep open, what nothing can put right.
//! Pure: both clocks are arguments.
//!
//! * A clock that is ahead by up to `MAX_STEP_MS` is followed at once (it was put right by a little).
//! * A clock that is behind by up to `MAX_SLEW_MS` is met: our time goes on a tenth slower until both agree. It never
//!   stands still, so windows end, and it never goes back.
//! * Anything more is not believed: our time goes on with the monotonic clock. Should the clock insist, and run evenly
//!   for `BELIEVE_AFTER_MS`, it was put right (or the machine slept), and it is followed, back as well.
//! * At a start there is no monotonic clock to compare with, only the newest time in the journal.

/// A clock that is ahead by more is not believed.
const MAX_STEP_MS: u64 = 60 * 60 * 1000;
/// A clock that is behind by more is not met: that would take months.
const MAX_SLEW_MS: u64 = 24 * 60 * 60 * 1000;
/// A clock that is not believed is, once it ran evenly for so long.
const BELIEVE_AFTER_MS: u64 = 60 * 60 * 1000;
/// A clock runs evenly if it wanders by less in that time; a difference up to that is not worth a line.
const TOLERANCE_MS: u64 = 60 * 1000;
/// Our time goes on slower by this part while it waits for the clock.
const SLEW_DIVISOR: u64 = 10;
/// What was not taken by `take_news` beyond that is forgotten; the gauge still tells that the clocks differ.
const MAX_NEWS: usize = 64;

const _: () = assert!(TOLERANCE_MS < MAX_STEP_MS && MAX_STEP_MS < MAX_SLEW_MS);

/// What somebody has to know about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockNews {
    /// It jumped, and is not believed; by how much it is ahead of our time (behind, if negative).
    NotBelieved(i64),
    /// It is behind our time by so much; our time waits for it, a tenth slower.
    Met(i64),
    /// It insisted, and is believed: our time jumped by so much.
    Believed(i64),
    /// The journal is ahead of it by so much: at an earlier time the clock was wrong; our time begins anew.
    JournalAhead(i64),
    /// It agrees with our time again.
    Agrees,
}

impl std::fmt::Display for ClockNews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |ms: i64| ms.unsigned_abs() / 1000;
        match *self {
            ClockNews::NotBelieved(ahead) => write!(
                f,
                "the clock of this machine jumped {} by {} seconds and is not believed: times of alerts go on as before; \
                 put it right, or wait an hour, then it is",
                if ahead > 0 { "ahead" } else { "back" },
                seconds(ahead)
            ),
            ClockNews::Met(behind) => write!(
                f,
                "the clock of this machine is {} seconds behind the times that were given to alerts: they go on a tenth \
                 slower until both agree",
                seconds(behind)
            ),
            ClockNews::Believed(jump) => write!(
                f,
                "the clock of this machine ran evenly for an hour and is believed: times of alerts jump {} by {} seconds",
                if jump > 0 { "ahead" } else { "back" },
                seconds(jump)
            ),
            ClockNews::JournalAhead(ahead) => write!(
                f,
                "the newest entry of the journal is {} seconds ahead of the clock of this machine, which was wrong then \
                 or is wrong now: times of alerts go on from the clock, windows that were open end",
                seconds(ahead)
            ),
            ClockNews::Agrees => f.write_str("the clock of this machine agrees with the times of alerts again"),
        }
    }
}

/// Since when the clock is not followed.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since_ms: u64,
    /// How far it was ahead then.
    ahead_ms: i64,
    /// Our time waits for it: it is believed, in a way.
    met: bool,
}

/// Our time.
#[derive(Debug)]
pub struct BelievedTime {
    time_ms: u64,
    monotonic_ms: u64,
    /// Time not yet taken back, of the slower pace.
    unslewed_ms: u64,
    doubt: Option<Doubt>,
    ahead_ms: i64,
    news: Vec<ClockNews>,
}

impl BelievedTime {
    /// Begins with what the clock says.
    pub fn new(wall_ms: u64, monotonic_ms: u64) -> BelievedTime {
        BelievedTime {
            time_ms: wall_ms,
            monotonic_ms,
            unslewed_ms: 0,
            doubt: None,
            ahead_ms: 0,
            news: Vec::new(),
        }
    }

    /// Goes on after the newest time of the journal, unless that is far ahead.
    pub fn go_on_after(&mut self, journal_ms: u64) {
        if journal_ms <= self.time_ms {
            return;
        }
        if journal_ms - self.time_ms > MAX_SLEW_MS {
            let ahead = difference(journal_ms, self.time_ms);
            return self.tell(ClockNews::JournalAhead(ahead));
        }
        self.time_ms = journal_ms;
    }

    /// Looks at both clocks and answers our time.
    pub fn look(&mut self, wall_ms: u64, monotonic_ms: u64) -> u64 {
        let elapsed = monotonic_ms.saturating_sub(self.monotonic_ms);
        self.monotonic_ms = self.monotonic_ms.max(monotonic_ms);
        let even = self.time_ms.saturating_add(elapsed);
        let ahead = difference(wall_ms, even);
        let (far, behind) = (ahead.unsigned_abs(), ahead < 0);
        self.time_ms = if !behind && far <= MAX_STEP_MS {
            self.agree();
            wall_ms
        } else if behind && far <= MAX_SLEW_MS {
            if far > TOLERANCE_MS {
                self.meet(ahead);
            } else {
                self.agree();
            }
            self.unslewed_ms += elapsed;
            let back = self.unslewed_ms / SLEW_DIVISOR;
            self.unslewed_ms %= SLEW_DIVISOR;
            even.saturating_sub(back).max(wall_ms)
        } else if self.insists(ahead) {
            self.doubt = None;
            self.tell(ClockNews::Believed(ahead));
            wall_ms
        } else {
            even
        };
        self.ahead_ms = difference(wall_ms, self.time_ms);
        self.time_ms
    }

    /// By how much the clock is ahead of our time (behind, if negative), as of the last look.
    pub fn clock_ahead_ms(&self) -> i64 {
        self.ahead_ms
    }

    /// What happened since the last call.
    pub fn take_news(&mut self) -> Vec<ClockNews> {
        std::mem::take(&mut self.news)
    }

    fn agree(&mut self) {
        if self.doubt.take().is_some() {
            self.tell(ClockNews::Agrees);
        }
    }

    fn meet(&mut self, ahead_ms: i64) {
        if self.doubt.is_none_or(|doubt| !doubt.met) {
            self.doubt = Some(Doubt {
                since_ms: self.monotonic_ms,
                ahead_ms,
                met: true,
            });
            self.tell(ClockNews::Met(ahead_ms));
        }
    }

    /// Whether a clock that is not believed ran evenly for long enough.
    fn insists(&mut self, ahead_ms: i64) -> bool {
        let even = |doubt: &Doubt| !doubt.met && doubt.ahead_ms.abs_diff(ahead_ms) <= TOLERANCE_MS;
        match self.doubt.filter(even) {
            Some(doubt) => self.monotonic_ms - doubt.since_ms >= BELIEVE_AFTER_MS,
            None => {
                self.doubt = Some(Doubt {
                    since_ms: self.monotonic_ms,
                    ahead_ms,
                    met: false,
                });
                self.tell(ClockNews::NotBelieved(ahead_ms));
                false
            }
        }
    }

    fn tell(&mut self, news: ClockNews) {
        if self.news.len() < MAX_NEWS {
            self.news.push(news);
        }
    }
}

fn difference(of: u64, than: u64) -> i64 {
    let far = i64::try_from(of.abs_diff(than)).unwrap_or(i64::MAX);
    if of >= than { far } else { -far }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;
    const HOUR: u64 = 3600 * SECOND;
    const DAY: u64 = 24 * HOUR;
    const START: u64 = 1_763_700_000_000;

    /// Both clocks of a machine, and our time.
    struct Machine {
        wall: u64,
        monotonic: u64,
        time: BelievedTime,
    }

    impl Machine {
        fn new() -> Machine {
            Machine {
                wall: START,
                monotonic: 7,
                time: BelievedTime::new(START, 7),
            }
        }

        fn wait(&mut self, ms: u64) -> u64 {
            self.wall += ms;
            self.monotonic += ms;
            self.time.look(self.wall, self.monotonic)
        }

        fn set(&mut self, wall: u64) -> u64 {
            self.wall = wall;
            self.time.look(self.wall, self.monotonic)
        }
    }

    #[test]
    fn a_clock_that_runs_evenly_is_followed() {
        let mut machine = Machine::new();
        assert_eq!(machine.wait(5 * SECOND), START + 5 * SECOND);
        assert_eq!(machine.wait(3 * DAY), START + 3 * DAY + 5 * SECOND);
        let ahead = machine.wall + HOUR / 2;
        assert_eq!(machine.set(ahead), ahead, "a step of half an hour");
        assert!(machine.time.take_news().is_empty());
    }

    #[test]
    fn a_jump_of_years_is_not_believed_and_told_once() {
        let mut machine = Machine::new();
        machine.set(START + 3650 * DAY);
        assert_eq!(machine.wait(SECOND), START + SECOND);
        assert_eq!(machine.wait(SECOND), START + 2 * SECOND);
        assert_eq!(
            machine.time.take_news(),
            [ClockNews::NotBelieved((3650 * DAY).cast_signed())]
        );
        assert_eq!(machine.time.clock_ahead_ms(), (3650 * DAY).cast_signed());
        machine.set(START + 2 * SECOND);
        assert_eq!(machine.wait(SECOND), START + 3 * SECOND);
        assert_eq!(machine.time.take_news(), [ClockNews::Agrees]);
    }

    #[test]
    fn a_clock_that_insists_for_an_hour_is_believed() {
        for (wall, sign) in [(START + 30 * DAY, 1), (START - 30 * DAY, -1)] {
            let mut machine = Machine::new();
            machine.set(wall);
            let just_before = machine.wait(HOUR - 1);
            assert_eq!(just_before, START + HOUR - 1);
            assert_eq!(machine.wait(1), wall + HOUR);
            let jump = sign * (30 * DAY).cast_signed();
            assert_eq!(
                machine.time.take_news(),
                [ClockNews::NotBelieved(jump), ClockNews::Believed(jump)]
            );
        }
    }

    #[test]
    fn a_clock_that_jumps_about_is_never_believed() {
        let mut machine = Machine::new();
        for n in 1..20 {
            machine.set(START + n * 100 * DAY);
            assert_eq!(machine.wait(HOUR / 2), START + n * HOUR / 2);
        }
    }

    /// Windows go on ending, and times go on without a step back, until both agree.
    #[test]
    fn a_clock_set_back_by_two_hours_is_met() {
        let mut machine = Machine::new();
        machine.set(START - 2 * HOUR);
        let mut before = START;
        for _ in 0..19 * 360 {
            let now = machine.wait(10 * SECOND);
            assert_eq!(now - before, 9 * SECOND, "never stands still");
            before = now;
        }
        assert_eq!(
            machine.time.take_news(),
            [ClockNews::Met(-(2 * HOUR).cast_signed())],
            "told once"
        );
        for _ in 0..3600 {
            let now = machine.wait(SECOND);
            assert!(now > before);
            before = now;
        }
        assert_eq!(before, machine.wall, "after twenty hours both agree");
        assert_eq!(machine.time.take_news(), [ClockNews::Agrees]);
    }

    #[test]
    fn looks_every_millisecond_slow_down_as_well() {
        let mut machine = Machine::new();
        machine.set(START - HOUR);
        let times: Vec<u64> = (0..1000).map(|_| machine.wait(1)).collect();
        assert!(times.is_sorted());
        assert_eq!(times.last(), Some(&(START + 900)));
    }

    #[test]
    fn a_journal_of_the_far_future_does_not_hold_time() {
        let mut machine = Machine::new();
        machine.time.go_on_after(START + 3650 * DAY);
        assert_eq!(machine.wait(SECOND), START + SECOND);
        assert!(matches!(machine.time.take_news()[..], [ClockNews::JournalAhead(_)]));

        let mut machine = Machine::new();
        machine.time.go_on_after(START + HOUR);
        assert_eq!(machine.wait(10 * SECOND), START + HOUR + 9 * SECOND);
    }
}
