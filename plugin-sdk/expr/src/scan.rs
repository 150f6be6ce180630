//! Cuts a source into tokens before the parser sees it: the guards count them, and the commonest mistakes (one `=`, an open text, a
//! wrong escape) get a message that says what to write.
//!
//! Must not know: the grammar. Whatever is a token here may still be a syntax error for the parser.

use crate::error::Diagnostic;

/// What a token is, as far as the guards and the branch texts care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// `(`, `[` or `{`, kept as its byte.
    Open(u8),
    /// `)`, `]` or `}`, kept as its byte.
    Close(u8),
    /// `,`
    Comma,
    /// `?`
    Question,
    /// `:`
    Colon,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `.`, a comparison, arithmetic, `!`, unary `-` or `in`.
    Operator,
    /// An identifier or keyword.
    Word,
    /// A number or a text.
    Literal,
}

/// A token and its byte range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The tokens of a source without blanks and comments, or what is wrong with the first bad character.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Diagnostic> {
    let scanner = Scanner {
        source,
        bytes: source.as_bytes(),
    };
    let mut tokens = Vec::with_capacity(source.len() / 3);
    let mut at = 0;
    while let Some(byte) = scanner.byte(at) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0c) {
            at += 1;
            continue;
        }
        if byte == b'/' && scanner.byte(at + 1) == Some(b'/') {
            at = scanner.skip_while(at, |byte| byte != b'\n');
            continue;
        }
        let (kind, end) = scanner.token(at, byte)?;
        tokens.push(Token { kind, start: at, end });
        at = end;
    }
    Ok(tokens)
}

struct Scanner<'s> {
    source: &'s str,
    bytes: &'s [u8],
}

impl Scanner<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn skip_while(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| wanted(**byte)).count()
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Diagnostic> {
        Err(Diagnostic::at(self.source, at, message))
    }

    /// The token that starts here, with its end.
    fn token(&self, at: usize, byte: u8) -> Result<(TokenKind, usize), Diagnostic> {
        match byte {
            b'(' | b'[' | b'{' => Ok((TokenKind::Open(byte), at + 1)),
            b')' | b']' | b'}' => Ok((TokenKind::Close(byte), at + 1)),
            b',' => Ok((TokenKind::Comma, at + 1)),
            b'?' => Ok((TokenKind::Question, at + 1)),
            b':' => Ok((TokenKind::Colon, at + 1)),
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' => Ok((TokenKind::Operator, at + 1)),
            b'=' | b'!' | b'<' | b'>' | b'&' | b'|' => self.comparison(at, byte),
            b'"' | b'\'' => Ok((TokenKind::Literal, self.text(at, at, false)?)),
            b'0'..=b'9' => Ok((TokenKind::Literal, self.number(at))),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(at),
            _ => self.unexpected(at),
        }
    }

    fn unexpected<T>(&self, at: usize) -> Result<T, Diagnostic> {
        let char = self
            .source
            .get(at..)
            .and_then(|rest| rest.chars().next())
            .unwrap_or(' ');
        match char {
            '“' | '”' | '„' | '‘' | '’' => self.fail(
                at,
                format!("unexpected '{char}': write texts between straight quotes, such as \"disk\""),
            ),
            '`' => self.fail(
                at,
                "unexpected '`': reach a name with special characters as labels[\"a-b\"]",
            ),
            _ => self.fail(
                at,
                format!(
                    "unexpected character '{}': only texts between quotes may hold it",
                    char.escape_debug()
                ),
            ),
        }
    }

    fn comparison(&self, at: usize, byte: u8) -> Result<(TokenKind, usize), Diagnostic> {
        match (byte, self.byte(at + 1)) {
            (b'=', Some(b'=')) if self.byte(at + 2) == Some(b'=') => {
                self.fail(at, "unexpected '===': use == to compare")
            }
            (b'=', Some(b'~')) => self.fail(at, "unexpected '=~': use matches(), such as name.matches(\"^db-\")"),
            (b'=', Some(b'=')) | (b'!' | b'<' | b'>', Some(b'=')) => Ok((TokenKind::Operator, at + 2)),
            (b'<', Some(b'>')) => self.fail(at, "unexpected '<>': use != for \"is not equal\""),
            (b'!' | b'<' | b'>', _) => Ok((TokenKind::Operator, at + 1)),
            (b'&', Some(b'&')) => Ok((TokenKind::And, at + 2)),
            (b'|', Some(b'|')) => Ok((TokenKind::Or, at + 2)),
            (b'&', _) => self.fail(at, "unexpected '&': use && for \"and\""),
            (b'|', _) => self.fail(at, "unexpected '|': use || for \"or\""),
            _ => self.fail(at, "unexpected '=': use == to compare"),
        }
    }

    fn word(&self, at: usize) -> Result<(TokenKind, usize), Diagnostic> {
        let end = self.skip_while(at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let word = self.source.get(at..end).unwrap_or_default();
        let quoted = matches!(self.byte(end), Some(b'"' | b'\''));
        match word {
            "r" | "R" if quoted => Ok((TokenKind::Literal, self.text(at, end, true)?)),
            _ if quoted && (word.eq_ignore_ascii_case("b") || word.eq_ignore_ascii_case("br")) => self.fail(
                at,
                "byte texts are not supported: write the text without the b in front of it",
            ),
            "in" => Ok((TokenKind::Operator, end)),
            _ => Ok((TokenKind::Word, end)),
        }
    }

    /// End of a number. Loose: what is no number after all is left to the parser.
    fn number(&self, at: usize) -> usize {
        if self.byte(at) == Some(b'0') && self.byte(at + 1) == Some(b'x') {
            return self.skip_while(at + 2, |byte| byte.is_ascii_hexdigit() || matches!(byte, b'u' | b'U'));
        }
        let digits = |from| self.skip_while(from, |byte| byte.is_ascii_digit());
        let mut end = digits(at);
        if self.byte(end) == Some(b'.') && self.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit()) {
            end = digits(end + 1);
        }
        if matches!(self.byte(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.byte(end + 1), Some(b'+' | b'-')));
            if self.byte(end + 1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                return digits(end + 1 + sign);
            }
        }
        end + usize::from(matches!(self.byte(end), Some(b'u' | b'U')))
    }

    /// End of the text whose quote stands at `quote`; `start` is where the literal begins, for the message.
    fn text(&self, start: usize, quote: usize, raw: bool) -> Result<usize, Diagnostic> {
        let mark = self.byte(quote).unwrap_or(b'"');
        let triple = self.byte(quote + 1) == Some(mark) && self.byte(quote + 2) == Some(mark);
        let mut at = quote + if triple { 3 } else { 1 };
        while let Some(byte) = self.byte(at) {
            if byte == b'\\' && !raw {
                at = self.escape(at)?;
            } else if byte == mark && !triple {
                return Ok(at + 1);
            } else if byte == mark && self.byte(at + 1) == Some(mark) && self.byte(at + 2) == Some(mark) {
                return Ok(at + 3);
            } else if matches!(byte, b'\n' | b'\r') && !triple {
                break;
            } else {
                at += 1;
            }
        }
        let close = if triple {
            "three closing quotes"
        } else {
            "the closing quote"
        };
        self.fail(
            start,
            format!("text is not closed: {close} {} is missing", char::from(mark)),
        )
    }

    /// End of the escape that starts with the backslash here.
    fn escape(&self, at: usize) -> Result<usize, Diagnostic> {
        let digits = |from: usize, count: usize, wanted: fn(&u8) -> bool| {
            self.bytes
                .get(from..from + count)
                .filter(|digits| digits.iter().all(wanted))
                .map(|_| from + count)
        };
        let end = match self.byte(at + 1) {
            Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => Some(at + 2),
            Some(b'x' | b'X') => digits(at + 2, 2, u8::is_ascii_hexdigit),
            Some(b'u') => digits(at + 2, 4, u8::is_ascii_hexdigit),
            Some(b'U') => digits(at + 2, 8, u8::is_ascii_hexdigit),
            Some(b'0'..=b'3') => digits(at + 1, 3, |byte| matches!(byte, b'0'..=b'7')),
            _ => None,
        };
        match end {
            Some(end) => Ok(end),
            None => self.fail(
                at,
                "unknown escape after '\\': write \\\\ for a backslash, or r\"...\" to keep backslashes in a pattern",
            ),
        }
    }
}
