//! Refuses what would be too deep for the parser's stack, and cuts out the texts of the branches; both from tokens alone.
//!
//! Must not know: the syntax tree. The depth it computes is an upper bound for every tree the parser can make of the tokens.

use crate::error::Diagnostic;
use crate::limits::{MAX_CHAIN, MAX_DEPTH, MAX_LOGIC_CHAIN, MAX_NESTING, NESTING_WEIGHT};
use crate::scan::{Token, TokenKind};
use std::ops::Range;

/// One open bracket, or the whole source.
#[derive(Default)]
struct Frame {
    opener: u8,
    start: usize,
    /// Operators since the last `&&`, `||`, `?`, `:` or `,`.
    chain: usize,
    /// Deepest bracket since then.
    child: usize,
    /// Deepest such stretch since the last `,`.
    deepest: usize,
    ternaries: usize,
    logic: usize,
    /// Deepest element between commas.
    total: usize,
}

impl Frame {
    fn end_stretch(&mut self) {
        self.deepest = self.deepest.max(self.chain + self.child);
        self.chain = 0;
        self.child = 0;
    }

    fn end_element(&mut self) {
        self.end_stretch();
        let balanced = usize::try_from(usize::BITS - self.logic.leading_zeros()).unwrap_or(0);
        self.total = self
            .total
            .max(self.deepest + self.ternaries * NESTING_WEIGHT + balanced);
        self.deepest = 0;
        self.ternaries = 0;
        self.logic = 0;
    }

    /// Depth of the whole bracket, once it is closed.
    fn depth(&mut self) -> usize {
        self.end_element();
        self.total + NESTING_WEIGHT
    }
}

/// Checks brackets, nesting, chains and total depth of a source.
pub(crate) fn check(source: &str, tokens: &[Token]) -> Result<(), Diagnostic> {
    let fail = |token: &Token, message: String| Err(Diagnostic::at(source, token.start, message));
    let mut outer: Vec<Frame> = Vec::new();
    let mut frame = Frame::default();
    for token in tokens {
        match token.kind {
            TokenKind::Open(opener) => {
                frame.chain += 1;
                outer.push(std::mem::replace(
                    &mut frame,
                    Frame {
                        opener,
                        start: token.start,
                        ..Frame::default()
                    },
                ));
            }
            TokenKind::Close(closer) => {
                let depth = frame.depth();
                let Some(parent) = outer.pop().filter(|_| closes(frame.opener, closer)) else {
                    return fail(
                        token,
                        format!("unexpected '{}': no matching bracket is open", char::from(closer)),
                    );
                };
                frame = Frame {
                    child: parent.child.max(depth),
                    ..parent
                };
            }
            TokenKind::Comma => frame.end_element(),
            TokenKind::Colon => frame.end_stretch(),
            TokenKind::Question => {
                frame.end_stretch();
                frame.ternaries += 1;
            }
            TokenKind::And | TokenKind::Or => {
                frame.end_stretch();
                frame.logic += 1;
            }
            TokenKind::Operator => frame.chain += 1,
            TokenKind::Word | TokenKind::Literal => {}
        }
        if let Some(message) = exceeded(&frame, outer.len()) {
            return fail(token, message);
        }
    }
    if !outer.is_empty() {
        let opener = char::from(frame.opener);
        return Err(Diagnostic::at(
            source,
            frame.start,
            format!("bracket is not closed: '{opener}' has no partner"),
        ));
    }
    if frame.depth() > MAX_DEPTH + NESTING_WEIGHT {
        return Err(Diagnostic::at(
            source,
            0,
            "expression is nested too deeply: split it into several rules or use fewer brackets",
        ));
    }
    Ok(())
}

/// The limit that a frame exceeds right now.
fn exceeded(frame: &Frame, open: usize) -> Option<String> {
    if open + frame.ternaries > MAX_NESTING {
        return Some(format!(
            "brackets and ternaries are nested too deeply: at most {MAX_NESTING} levels"
        ));
    }
    if frame.chain > MAX_CHAIN {
        return Some(format!(
            "too many operators in a row: at most {MAX_CHAIN}, use a list and in, or matches()"
        ));
    }
    if frame.logic > MAX_LOGIC_CHAIN {
        return Some(format!(
            "too many && and || in a row: at most {MAX_LOGIC_CHAIN}, use a list and in, or matches()"
        ));
    }
    None
}

fn closes(opener: u8, closer: u8) -> bool {
    matches!((opener, closer), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
}

/// The byte ranges of the operands of the top-level `||`, through any parentheses and without those around an operand. The tokens
/// must have passed [`check`].
pub(crate) fn branches(tokens: &[Token]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    collect(tokens, &mut ranges);
    ranges
}

/// Recursion is bounded by the nesting of brackets.
fn collect(tokens: &[Token], ranges: &mut Vec<Range<usize>>) {
    let tokens = strip(tokens);
    let at_top = |wanted: TokenKind| {
        let mut depth = 0_usize;
        tokens.iter().enumerate().filter(move |(_, token)| {
            match token.kind {
                TokenKind::Open(_) => depth += 1,
                TokenKind::Close(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.kind == wanted
        })
    };
    // `a || b ? c : d` is a ternary whose condition is a || b: nothing to split.
    let bars: Vec<usize> = if at_top(TokenKind::Question).next().is_some() {
        Vec::new()
    } else {
        at_top(TokenKind::Or).map(|(index, _)| index).collect()
    };
    if bars.is_empty() {
        if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
            ranges.push(first.start..last.end);
        }
        return;
    }
    let mut from = 0;
    for bar in bars.into_iter().chain([tokens.len()]) {
        collect(tokens.get(from..bar).unwrap_or_default(), ranges);
        from = bar + 1;
    }
}

/// Without the parentheses that enclose all tokens.
fn strip(mut tokens: &[Token]) -> &[Token] {
    while let [first, inner @ .., last] = tokens {
        if first.kind != TokenKind::Open(b'(') || last.kind != TokenKind::Close(b')') || !is_balanced(inner) {
            break;
        }
        tokens = inner;
    }
    tokens
}

/// Whether no bracket closes one that was opened outside of these tokens.
fn is_balanced(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    tokens.iter().all(|token| match token.kind {
        TokenKind::Open(_) => {
            depth += 1;
            true
        }
        TokenKind::Close(_) => {
            let enclosed = depth > 0;
            depth = depth.saturating_sub(1);
            enclosed
        }
        _ => true,
    })
}
