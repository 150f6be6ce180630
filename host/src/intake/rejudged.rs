//! Which days of the journal commands that judge again still need (I10). Such a command reads documents by their position,
//! once when it is applied and again whenever it is replayed: they must be the same ones each time. Pure; knows neither
//! files nor days.

use std::collections::VecDeque;

use donjon_core::Seq;

/// What commands between the cursors and the end of the journal read.
pub(super) struct Rejudged(VecDeque<Needed>);

struct Needed {
    /// The position of the command: once nothing is replayed from before it, it needs nothing any more.
    until: Seq,
    /// The first position that it reads.
    from: Seq,
}

impl Rejudged {
    /// Commands that an earlier life took, up to `last`, are not known: they may need everything.
    pub(super) fn unknown_up_to(last: Seq) -> Rejudged {
        Rejudged(VecDeque::from([Needed {
            until: last,
            from: Seq(0),
        }]))
    }

    /// A command at `at` reads from `from` on.
    pub(super) fn note(&mut self, at: Seq, from: Seq) {
        // Those before that need less go no later than this one: so the list is as short as it can be.
        while self.0.back().is_some_and(|needed| needed.from >= from) {
            self.0.pop_back();
        }
        self.0.push_back(Needed { until: at, from });
    }

    /// Everything up to this position may be freed, where replays begin behind `replayed_after` at the earliest.
    pub(super) fn freeable_to(&mut self, replayed_after: Seq) -> Seq {
        while self.0.front().is_some_and(|needed| needed.until <= replayed_after) {
            self.0.pop_front();
        }
        // The first one needs the most.
        match self.0.front() {
            Some(needed) => Seq(needed.from.0.saturating_sub(1)),
            None => Seq(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_reads_is_kept_until_no_replay_reaches_it() {
        let mut rejudged = Rejudged::unknown_up_to(Seq(10));
        assert_eq!(
            rejudged.freeable_to(Seq(9)),
            Seq(0),
            "commands of before may need everything"
        );
        rejudged.note(Seq(20), Seq(3));
        rejudged.note(Seq(30), Seq(15));
        rejudged.note(Seq(40), Seq(12));
        assert_eq!(rejudged.freeable_to(Seq(9)), Seq(0));
        assert_eq!(rejudged.freeable_to(Seq(10)), Seq(2));
        assert_eq!(rejudged.freeable_to(Seq(19)), Seq(2));
        assert_eq!(rejudged.freeable_to(Seq(20)), Seq(11));
        assert_eq!(rejudged.0.len(), 1, "the one at 30 needs less and goes earlier");
        assert_eq!(rejudged.freeable_to(Seq(40)), Seq(u64::MAX));
        rejudged.note(Seq(50), Seq(0));
        assert_eq!(rejudged.freeable_to(Seq(49)), Seq(0));
        assert_eq!(Rejudged::unknown_up_to(Seq(0)).freeable_to(Seq(0)), Seq(u64::MAX));
    }
}
