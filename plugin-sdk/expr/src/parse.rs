//! The only place that runs the `cel` parser: guards first, then the tree, and the parser's complaints in words for people who write
//! rules.
//!
//! Must not know: what the tree means.

use crate::error::Diagnostic;
use crate::guard;
use crate::limits::{MAX_BRANCHES, MAX_DIAGNOSTICS, MAX_SOURCE_BYTES};
use crate::scan::{self, Token, TokenKind};
use cel::Program;
use std::ops::Range;

/// A source that parsed, with what later steps need to point into it.
pub(crate) struct Parsed<'s> {
    pub(crate) source: &'s str,
    pub(crate) program: Program,
    /// Byte ranges of the branches, in the order of the source.
    pub(crate) branches: Vec<Range<usize>>,
    tokens: Vec<Token>,
}

impl Parsed<'_> {
    /// A diagnostic at a node of the tree.
    pub(crate) fn complain(&self, id: u64, message: impl Into<String>) -> Diagnostic {
        match self.program.source_info().offset_for(id) {
            Some((start, _)) => Diagnostic::at(self.source, usize::try_from(start).unwrap_or(0), message),
            None => Diagnostic {
                message: message.into(),
                line: 0,
                column: 0,
            },
        }
    }

    /// A diagnostic at the name of a called function. The parser remembers only the bracket behind it.
    pub(crate) fn complain_at_name(&self, id: u64, message: impl Into<String>) -> Diagnostic {
        let offset = self
            .program
            .source_info()
            .offset_for(id)
            .and_then(|(start, _)| usize::try_from(start).ok());
        let before = offset.and_then(|offset| self.tokens.iter().take_while(|token| token.start < offset).last());
        match before.filter(|token| token.kind == TokenKind::Word) {
            Some(name) => Diagnostic::at(self.source, name.start, message),
            None => self.complain(id, message),
        }
    }
}

/// Parses a source after checking every limit that protects the parser.
pub(crate) fn parse(source: &str) -> Result<Parsed<'_>, Vec<Diagnostic>> {
    if source.len() > MAX_SOURCE_BYTES {
        let message = format!(
            "expression is too long: {} bytes, at most {MAX_SOURCE_BYTES}",
            source.len()
        );
        return Err(vec![Diagnostic {
            message,
            line: 0,
            column: 0,
        }]);
    }
    let tokens = scan::tokens(source).map_err(|diagnostic| vec![diagnostic])?;
    if tokens.is_empty() {
        return Err(vec![Diagnostic::at(
            source,
            0,
            "expression is empty: write a condition such as severity >= \"high\"",
        )]);
    }
    guard::check(source, &tokens).map_err(|diagnostic| vec![diagnostic])?;
    let program = Program::compile(source).map_err(|errors| explain_all(source, &tokens, &errors))?;
    let branches = guard::branches(&tokens);
    if branches.len() > MAX_BRANCHES {
        let message = format!(
            "too many branches: {}, at most {MAX_BRANCHES}; use a list and in, or matches()",
            branches.len()
        );
        return Err(vec![Diagnostic::at(source, 0, message)]);
    }
    Ok(Parsed {
        source,
        program,
        branches,
        tokens,
    })
}

/// The parser's errors, reworded; its follow-up errors about incomplete nodes only if there is nothing better.
fn explain_all(source: &str, tokens: &[Token], errors: &cel::ParseErrors) -> Vec<Diagnostic> {
    let is_echo = |message: &str| {
        message.starts_with("Incomplete") || message.starts_with("No `") || message.contains("wanted '")
    };
    let has_cause = errors.errors.iter().any(|error| !is_echo(&error.msg));
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for error in errors.errors.iter().filter(|error| !(has_cause && is_echo(&error.msg))) {
        let (line, column) = (
            u32::try_from(error.pos.0).unwrap_or(0),
            u32::try_from(error.pos.1).unwrap_or(0),
        );
        let word = word_at(source, tokens, line, column);
        let diagnostic = Diagnostic {
            message: explain(&error.msg, word),
            line,
            column,
        };
        if diagnostics.len() < MAX_DIAGNOSTICS && !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }
    if diagnostics.is_empty() {
        diagnostics.push(Diagnostic {
            message: "expression does not parse".into(),
            line: 0,
            column: 0,
        });
    }
    diagnostics
}

/// The token at a position; `None` at the end of the source.
fn word_at<'s>(source: &'s str, tokens: &[Token], line: u32, column: u32) -> Option<&'s str> {
    let mut lines = source.split_inclusive('\n');
    let above = usize::try_from(line).ok()?.checked_sub(1)?;
    let start: usize = lines.by_ref().take(above).map(str::len).sum();
    let skipped = usize::try_from(column).ok()?.checked_sub(1)?;
    let within: usize = lines.next()?.chars().take(skipped).map(char::len_utf8).sum();
    let token = tokens.iter().find(|token| token.start == start + within)?;
    source.get(token.start..token.end)
}

/// One message of the parser in plain words.
fn explain(message: &str, word: Option<&str>) -> String {
    let text = message.strip_prefix("Syntax error: ").unwrap_or(message);
    if text.starts_with("invalid argument to has()") {
        return "has() needs a path with a dot, such as has(labels.region): compare anything else with null, such as region != null".into();
    }
    if text.starts_with("argument must be a simple name") {
        return "the first argument of a macro must be a plain name: write tags.exists(t, t == \"a\")".into();
    }
    if let Some(name) = text.strip_prefix("reserved identifier: ") {
        return format!(
            "'{name}' is a reserved word: reach an attribute of that name inside labels as labels[\"{name}\"]"
        );
    }
    if text.starts_with("invalid int literal") || text.starts_with("invalid uint literal") {
        return "number is too large: whole numbers have 64 bits".into();
    }
    if text.starts_with("unsupported syntax") {
        return "optional syntax with '?' is not supported: an absent attribute is null, compare it with null".into();
    }
    let wants_value = text.contains("expecting {'['") || text.starts_with("no viable alternative");
    let is_unexpected = wants_value
        || text.contains("mismatched input")
        || text.contains("extraneous input")
        || text.starts_with("missing ");
    match word {
        _ if !is_unexpected => text.to_owned(),
        Some(word) => explain_word(word, wants_value),
        None if text.contains("':'") && !wants_value => "the expression ends too early: ':' is missing".into(),
        None => "the expression ends too early: a value is missing".into(),
    }
}

fn explain_word(word: &str, wants_value: bool) -> String {
    match word {
        _ if word.eq_ignore_ascii_case("and") => format!("unexpected '{word}': use &&"),
        _ if word.eq_ignore_ascii_case("or") => format!("unexpected '{word}': use ||"),
        _ if word.eq_ignore_ascii_case("not") => format!("unexpected '{word}': use !(...)"),
        "is" => "unexpected 'is': use == to compare".into(),
        "like" | "contains" | "startsWith" | "endsWith" | "matches" => {
            format!("unexpected '{word}': write it as a method, such as name.contains(\"db\")")
        }
        _ if wants_value => format!("unexpected '{word}': a value is missing before it"),
        _ => format!("unexpected '{word}': an operator such as && or == is missing before it"),
    }
}
