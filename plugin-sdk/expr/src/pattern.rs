//! Regular expressions of `matches()`, in time that grows with the text and with nothing else.
//!
//! A lazy automaton reads each byte once, and builds a transition where no text went that way before, hundreds of times slower. General engines
//! leave it where that happens too often (such as `(a|b)*a(a|b){14}`) and then take a step for each state and byte. Here transitions are charged
//! instead, and the evaluation fails where they are too many. Each one that a text takes is charged once, whether or not an earlier text has left
//! it behind: what an evaluation costs is a function of pattern and text alone, and at least what it takes.
//! Must not know: where text and pattern come from.

use crate::error::{Budget, EvalError};
use crate::limits::{
    MAX_PATTERN_BYTES, MAX_PATTERN_CLASSES, MAX_PATTERN_NESTING, MAX_PATTERNS, MAX_PATTERNS_BYTES, PATTERN_CACHE_BYTES,
};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, NFA, State, Transition, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchErrorKind};
use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};

type NewMemory = Box<dyn Fn() -> Memory + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// Steps of building a transition: these, and one for so many places of the pattern, all of which it may have to look at. A step of these
/// takes some 200 ns, so that all steps of an alert together take a part of the time of a call.
const TRANSITION_STEPS: usize = 2;
const PLACES_PER_STEP: usize = 8;

/// A pattern that is compiled once.
pub(crate) struct Pattern {
    dfa: DFA,
    /// One for each thread that evaluates at the moment.
    memories: Pool<Memory, NewMemory>,
    /// Takes over where a word boundary of Unicode meets a text that is not ASCII, which the automaton cannot decide.
    slow: Option<PikeVM>,
    /// Size of the program: what a step of the slow engine costs.
    program_bytes: usize,
    transition_steps: usize,
}

/// What a pattern keeps between two texts.
struct Memory {
    cache: Cache,
    taken: Taken,
}

/// Which transitions the text of now has taken.
#[derive(Default)]
struct Taken {
    /// The number of the text that took it last, by transition.
    by: Vec<u8>,
    text: u8,
}

/// Why a search has no answer.
enum Stopped {
    /// States that earlier texts left behind had to make room.
    Crowded,
    /// A word boundary of Unicode, and a text that is not ASCII.
    Undecided,
    Failed(EvalError),
}

/// What the patterns of one expression add up to: that is what is bounded.
#[derive(Debug, Default)]
pub(crate) struct PatternSum {
    patterns: usize,
    bytes: usize,
    classes: usize,
}

/// Why a pattern is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many matches(): at most {MAX_PATTERNS}, join patterns with |")]
    TooMany,
    #[error("too many classes in patterns, such as [a-z] or \\d: at most {MAX_PATTERN_CLASSES} in one expression")]
    Classes,
    #[error("pattern is too large: at most {MAX_PATTERN_BYTES} bytes when compiled, use smaller repetitions")]
    Large,
    #[error(
        "the patterns of this expression are too large together: at most {MAX_PATTERNS_BYTES} bytes when compiled, split the rule"
    )]
    LargeTogether,
    #[error("pattern is not a regular expression: {0}")]
    Malformed(String),
}

impl PatternSum {
    /// One more pattern.
    pub(crate) fn compile(&mut self, pattern: &str) -> Result<Pattern, Refusal> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(Refusal::TooMany);
        }
        // Sets of Unicode characters are worked out before any limit of the engine is looked at, a millisecond each at worst.
        self.classes += classes_in(pattern);
        if self.classes > MAX_PATTERN_CLASSES {
            return Err(Refusal::Classes);
        }
        let pattern = Pattern::compile(pattern)?;
        self.bytes += pattern.program_bytes;
        if self.bytes > MAX_PATTERNS_BYTES {
            return Err(Refusal::LargeTogether);
        }
        Ok(pattern)
    }
}

/// At least as many as there are classes in a pattern.
fn classes_in(pattern: &str) -> usize {
    let escapes = ["\\w", "\\W", "\\d", "\\D", "\\s", "\\S", "\\p", "\\P"];
    let count = |what: &str| pattern.matches(what).count();
    count("[") + escapes.into_iter().map(count).sum::<usize>()
}

impl Pattern {
    fn compile(pattern: &str) -> Result<Self, Refusal> {
        let malformed = |error: &dyn fmt::Display| {
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default();
            Refusal::Malformed(line.trim_start_matches("error: ").to_owned())
        };
        let syntax = regex_automata::util::syntax::Config::new().nest_limit(MAX_PATTERN_NESTING);
        let config = NFA::config()
            .nfa_size_limit(Some(MAX_PATTERN_BYTES))
            .which_captures(WhichCaptures::None);
        let nfa = thompson::Compiler::new()
            .syntax(syntax)
            .configure(config)
            .build(pattern)
            .map_err(|error| match (error.size_limit(), error.source()) {
                (Some(_), _) => Refusal::Large,
                (None, Some(source)) => malformed(source),
                (None, None) => malformed(&error),
            })?;
        let program_bytes = nfa.memory_usage();
        let config = DFA::config()
            .unicode_word_boundary(true)
            .cache_capacity(PATTERN_CACHE_BYTES)
            .skip_cache_capacity_check(true);
        let transition_steps = TRANSITION_STEPS + places(&nfa) / PLACES_PER_STEP;
        let slow = if nfa.look_set_any().contains_word_unicode() {
            Some(PikeVM::new_from_nfa(nfa.clone()).map_err(|error| malformed(&error))?)
        } else {
            None
        };
        let dfa = DFA::builder()
            .configure(config)
            .build_from_nfa(nfa)
            .map_err(|error| malformed(&error))?;
        let blueprint = dfa.clone();
        Ok(Self {
            dfa,
            memories: Pool::new(Box::new(move || Memory::new(&blueprint))),
            slow,
            program_bytes,
            transition_steps,
        })
    }

    /// Whether the pattern is found somewhere in the text.
    pub(crate) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, EvalError> {
        budget.spend_bytes(text.len().saturating_mul(4))?;
        let before = budget.clone();
        let mut memory = self.memories.get();
        let found = match self.search(&mut memory, text, budget, Clears::Stop) {
            // What earlier texts left behind decides nothing, so it starts again from nothing. A text that crowds nobody out takes the same
            // transitions either way, as all of them stay to the end.
            Err(Stopped::Crowded) => {
                *memory = Memory::new(&self.dfa);
                *budget = before;
                self.search(&mut memory, text, budget, Clears::GoOn)
            }
            other => other,
        };
        match (found, &self.slow) {
            (Ok(found), _) => Ok(found),
            (Err(Stopped::Undecided), Some(slow)) => {
                budget.spend(text.len().saturating_mul(1 + self.program_bytes / 1024))?;
                Ok(slow.is_match(&mut slow.create_cache(), text))
            }
            (Err(Stopped::Failed(error)), _) => Err(error),
            // Neither happens: room is made as often as it is needed, and only word boundaries are left undecided.
            (Err(Stopped::Crowded | Stopped::Undecided), _) => Err(budget.exhaust()),
        }
    }

    fn search(&self, memory: &mut Memory, text: &str, budget: &mut Budget, on_clear: Clears) -> Result<bool, Stopped> {
        let Memory { cache, taken } = memory;
        taken.begin();
        let mut clears = cache.clear_count();
        let classes = self.dfa.byte_classes();
        let input = Input::new(text).anchored(Anchored::No);
        let mut state = self
            .dfa
            .start_state_forward(cache, &input)
            .map_err(|error| match error.kind() {
                MatchErrorKind::Quit { .. } => Stopped::Undecided,
                _ => Stopped::Crowded,
            })?;
        for byte in text.bytes() {
            let is_first = taken.is_first(index(state).saturating_add(usize::from(classes.get(byte))));
            if is_first {
                budget.spend(self.transition_steps).map_err(Stopped::Failed)?;
            }
            state = self.dfa.next_state(cache, state, byte).map_err(|_| Stopped::Crowded)?;
            if is_first && cache.clear_count() != clears {
                if on_clear == Clears::Stop {
                    return Err(Stopped::Crowded);
                }
                clears = cache.clear_count();
                taken.forget();
            }
            if state.is_tagged() {
                if state.is_match() {
                    return Ok(true);
                }
                if state.is_dead() {
                    return Ok(false);
                }
                if state.is_quit() {
                    return Err(Stopped::Undecided);
                }
            }
        }
        let last = self.dfa.next_eoi_state(cache, state).map_err(|_| Stopped::Crowded)?;
        Ok(last.is_match())
    }
}

/// What to do where the cache was full and has been cleared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clears {
    Stop,
    GoOn,
}

impl Memory {
    fn new(dfa: &DFA) -> Self {
        Self {
            cache: dfa.create_cache(),
            taken: Taken::default(),
        }
    }
}

impl Taken {
    /// The next text.
    fn begin(&mut self) {
        match self.text.checked_add(1) {
            Some(next) => self.text = next,
            None => self.forget(),
        }
    }

    /// No transition was taken.
    fn forget(&mut self) {
        self.by.fill(0);
        self.text = 1;
    }

    /// Whether the text takes this transition for the first time.
    #[inline]
    fn is_first(&mut self, transition: usize) -> bool {
        if let Some(by) = self.by.get_mut(transition) {
            return std::mem::replace(by, self.text) != self.text;
        }
        // Twice as many: states come one by one. Bounded by the cache.
        self.by.resize((transition + 1).saturating_mul(2), 0);
        if let Some(by) = self.by.get_mut(transition) {
            *by = self.text;
        }
        true
    }
}

/// Where the transitions of a state begin. The library shows this number to a hasher only, with marks above it.
#[inline]
fn index(state: LazyStateID) -> usize {
    struct Number(u32);
    impl Hasher for Number {
        fn write(&mut self, _: &[u8]) {}
        fn write_u32(&mut self, number: u32) {
            self.0 = number;
        }
        fn finish(&self) -> u64 {
            u64::from(self.0)
        }
    }
    const MARKS: u32 = 0b1_1111 << 27;
    let mut number = Number(0);
    state.hash(&mut number);
    usize::try_from(number.0 & !MARKS).unwrap_or(usize::MAX)
}

/// In how many places of the pattern a text may be at one time, at most. What follows the first byte of a character does not count: of all
/// that Unicode's classes have of it, a text is in one.
fn places(nfa: &NFA) -> usize {
    let begins = |transition: &Transition| !(0x80..=0xbf).contains(&transition.start);
    let is_place = |state: &&State| match state {
        State::ByteRange { trans } => begins(trans),
        State::Sparse(sparse) => sparse.transitions.iter().any(begins),
        State::Dense(_) | State::Look { .. } => true,
        State::Union { .. } | State::BinaryUnion { .. } | State::Capture { .. } | State::Fail | State::Match { .. } => {
            false
        }
    };
    nfa.states().iter().filter(is_place).count()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern")
            .field("program_bytes", &self.program_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn is_match(pattern: &str, text: &str) -> Result<bool, EvalError> {
        PatternSum::default()
            .compile(pattern)
            .unwrap()
            .is_match(text, &mut Budget::default())
    }

    #[test]
    fn honest_patterns_match_long_texts() {
        let stack_trace =
            "at org.example.Service.call(Service.java:42)\n".repeat(1_000) + "caused by: \u{e9}OutOfMemoryError";
        for (pattern, expected) in [
            (r"\w+OutOfMemory\w+", true),
            (r"(?i)outofmemory", true),
            (r"^at org\.(\w+\.)+call", true),
            (r"(timeout|refused|unreachable)", false),
            (r"\d{3,5}ms$", false),
            (r"(a+)+$", false),
        ] {
            assert_eq!(is_match(pattern, &stack_trace), Ok(expected), "{pattern}");
        }
        assert_eq!(is_match(r"\berror\b", &("caf\u{e9} ".repeat(100) + "error")), Ok(true));
        assert_eq!(is_match(r"\berror\b", &"x ".repeat(30_000)), Ok(false));
    }

    #[test]
    fn a_pattern_with_too_many_states_fails_instead_of_running() {
        let text: String = (0..100_000_u32)
            .map(|n| {
                if (n.wrapping_mul(2_654_435_761) >> 20) & 1 == 0 {
                    'a'
                } else {
                    'b'
                }
            })
            .collect();
        let pattern = PatternSum::default().compile(r"^[ab]*a[ab]{1500}$").unwrap();
        let mut budget = Budget::new(1_000_000);
        // The same however often it was asked before: what is left in the cache decides nothing.
        for _ in 0..3 {
            assert_eq!(
                pattern.is_match(&text, &mut budget.clone()),
                Err(EvalError::BudgetExceeded)
            );
        }
        assert_eq!(
            pattern.is_match("ab", &mut budget),
            Ok(false),
            "short texts are no trouble"
        );
    }

    #[test]
    fn what_a_text_costs_is_the_same_whatever_was_searched_before() {
        let random = |length: u32| -> String {
            let letter = |n: u32| {
                if (n.wrapping_mul(2_654_435_761) >> 20) & 1 == 0 {
                    'a'
                } else {
                    'b'
                }
            };
            (0..length).map(letter).collect()
        };
        let texts = [
            random(20_000),
            "disk failed on node7 after a timeout".to_owned(),
            "caf\u{e9} \u{416}\u{623} timeout 33ms".repeat(20),
            random(300),
            String::new(),
            random(3_000) + "c",
        ];
        let cost = |pattern: &Pattern, text: &str| {
            let mut budget = Budget::new(60_000);
            (pattern.is_match(text, &mut budget), 60_000 - budget.remaining())
        };
        for pattern in [
            "timeout",
            r"(?i)(disk|code|host)\w* \w+(failed|error)\d* .*(timeout|node)@",
            r"[ab]*a[ab]{300}c",
            r"^[ab]*a[ab]{1500}$",
            r"\d{1,5}ms\b",
        ] {
            let compile = || PatternSum::default().compile(pattern).unwrap();
            let alone: Vec<_> = texts.iter().map(|text| cost(&compile(), text)).collect();
            let used = compile();
            for step in [1, 5, 7, 1] {
                for at in (0..300).map(|round| round * step % texts.len()) {
                    assert_eq!(cost(&used, &texts[at]), alone[at], "{pattern} on text {at}");
                }
            }
        }
    }

    #[test]
    fn transitions_are_charged_by_the_places_of_the_pattern() {
        let cost = |pattern: &str, text: &str| {
            let mut budget = Budget::new(1_000_000);
            let pattern = PatternSum::default().compile(pattern).unwrap();
            (
                pattern.is_match(text, &mut budget).unwrap(),
                1_000_000 - budget.remaining(),
            )
        };
        assert_eq!(cost("b", &"a".repeat(32)), (false, 4 + 2), "read, and one transition");
        assert_eq!(cost("b", "aA"), (false, 2), "to the automaton the same letters");
        assert_eq!(cost(r"[ab]{80}c", "aaa"), (false, 3 * (2 + 81 / 8)));
        // A class of Unicode has many states, and a text is in one of them.
        assert!(cost(r"\w{3}x", "abc abc").1 <= 8 * 4);
    }

    #[test]
    fn the_slow_engine_is_charged_by_the_size_of_its_program() {
        let cost = |pattern: &str, text: &str| {
            let pattern = PatternSum::default().compile(pattern).unwrap();
            let mut budget = Budget::new(1_000_000);
            let found = pattern.is_match(text, &mut budget);
            (found.is_ok(), 1_000_000 - budget.remaining())
        };
        let (plain, accented) = ("x".repeat(8_000), "\u{e9}".repeat(4_000));
        let (done, steps) = cost(r"\bz", &plain);
        assert!(done && (1_000..1_050).contains(&steps), "{steps}");
        let (done, steps) = cost(r"\bz", &accented);
        assert!(done && steps >= 9_000, "{steps}");
        let (_, larger) = cost(r"\bz(\w\w|\W)", &accented);
        assert!(larger > 10 * steps, "{larger} after {steps}");
    }

    #[test]
    fn what_compiling_may_cost_is_bounded_in_sum() {
        let compile = |patterns: &[&str]| {
            let mut sum = PatternSum::default();
            patterns.iter().try_for_each(|pattern| sum.compile(pattern).map(drop))
        };
        assert!(compile(&[r"\w+@\w+\.\w+"; 4]).is_ok());
        assert!(matches!(compile(&[r"\w+@\w+\.\w+"; 40]), Err(Refusal::LargeTogether)));
        assert!(matches!(compile(&["x"; 65]), Err(Refusal::TooMany)));
        assert!(matches!(compile(&[r"(\w{500}){500}"]), Err(Refusal::Large)));
        assert!(matches!(
            compile(&["(?i)\\pL".repeat(300).as_str()]),
            Err(Refusal::Classes)
        ));
        assert!(matches!(compile(&["(x"]), Err(Refusal::Malformed(text)) if text.contains("unclosed group")));
    }
}
