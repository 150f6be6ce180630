//! Regular expressions of `matches()`, in time that grows with the text and with nothing else.
//!
//! A lazy automaton reads each byte once. General engines leave it where its states would have to be built faster than bytes are read (such as
//! `(a|b)*a(a|b){14}`) and then take a step for each state and byte, hundreds of times slower. Here the evaluation fails instead, and says so.
//! Must not know: where text and pattern come from.

use crate::error::{Budget, EvalError};
use crate::limits::{
    MAX_PATTERN_BYTES, MAX_PATTERN_CLASSES, MAX_PATTERN_NESTING, MAX_PATTERNS, MAX_PATTERNS_BYTES, PATTERN_CACHE_BYTES,
};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchError, MatchErrorKind};
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// A pattern that is compiled once.
pub(crate) struct Pattern {
    dfa: DFA,
    /// One for each thread that evaluates at the moment.
    caches: Pool<Cache, NewCache>,
    /// Takes over where a word boundary of Unicode meets a text that is not ASCII, which the automaton cannot decide.
    slow: Option<PikeVM>,
    /// Size of the program: what a step of the slow engine costs.
    program_bytes: usize,
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
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(1))
            // Building a state costs as much as reading so many bytes, so that time stays in proportion to the text.
            .minimum_bytes_per_state(Some((program_bytes / 32).max(32)));
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
            caches: Pool::new(Box::new(move || blueprint.create_cache())),
            slow,
            program_bytes,
        })
    }

    /// Whether the pattern is found somewhere in the text.
    pub(crate) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, EvalError> {
        budget.spend_bytes(text.len().saturating_mul(4))?;
        let mut cache = self.caches.get();
        let found = match self.search(&mut cache, text) {
            // What earlier texts left in the cache may be why it gave up: the answer must not depend on them.
            Err(error) if matches!(error.kind(), MatchErrorKind::GaveUp { .. }) => {
                cache.reset(&self.dfa);
                self.search(&mut cache, text)
            }
            other => other,
        };
        match (found, &self.slow) {
            (Ok(found), _) => Ok(found),
            (Err(error), Some(slow)) if matches!(error.kind(), MatchErrorKind::Quit { .. }) => {
                budget.spend(text.len().saturating_mul(1 + self.program_bytes / 1024))?;
                Ok(slow.is_match(&mut slow.create_cache(), text))
            }
            // Giving up has cost about what a whole budget stands for.
            _ => Err(budget.exhaust()),
        }
    }

    fn search(&self, cache: &mut Cache, text: &str) -> Result<bool, MatchError> {
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        Ok(self.dfa.try_search_fwd(cache, &input)?.is_some())
    }
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
    fn the_slow_engine_is_charged_by_the_size_of_its_program() {
        let cost = |pattern: &str, text: &str| {
            let pattern = PatternSum::default().compile(pattern).unwrap();
            let mut budget = Budget::new(1_000_000);
            let found = pattern.is_match(text, &mut budget);
            (found.is_ok(), 1_000_000 - budget.remaining())
        };
        let (plain, accented) = ("x".repeat(8_000), "\u{e9}".repeat(4_000));
        assert_eq!(cost(r"\bz", &plain), (true, 1_000));
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
