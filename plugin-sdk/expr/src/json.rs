//! Reads the JSON text of a list or object attribute into values. Small on purpose: it is part of every guest, borrows texts without
//! escapes, and is bounded in depth and in steps.
//!
//! Must not know: which attribute it reads.

use crate::error::{Budget, EvalError};
use crate::limits::MAX_JSON_DEPTH;
use crate::value::{Text, Value};
use std::rc::Rc;

/// Parses one JSON document. Costs a step for each value and for each 32 bytes.
pub(crate) fn parse<'a>(text: &'a str, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
    budget.spend_bytes(text.len())?;
    let mut reader = Reader { text, at: 0, budget };
    let value = reader.value(0)?;
    reader.skip_blanks();
    if reader.at == text.len() {
        Ok(value)
    } else {
        Err(EvalError::Json("text after the end"))
    }
}

struct Reader<'a, 'b> {
    text: &'a str,
    at: usize,
    budget: &'b mut Budget,
}

impl<'a> Reader<'a, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Skips blanks and takes the byte if it is the wanted one.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, EvalError> {
        if depth > MAX_JSON_DEPTH {
            return Err(EvalError::Json("nested too deeply"));
        }
        self.budget.spend(1)?;
        self.skip_blanks();
        match self.peek() {
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value<'a>, EvalError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (word, value) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(EvalError::Json("a value is missing"))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, EvalError> {
        self.at += 1;
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(Value::List(Rc::new(elements)));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Value::List(Rc::new(elements)));
            }
            if !self.take(b',') {
                return Err(EvalError::Json("a list is not closed"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, EvalError> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.take(b'}') {
            return Ok(Value::Map(Rc::new(entries)));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(EvalError::Json("a key is missing"));
            }
            let key = Value::Text(self.string()?);
            if !self.take(b':') {
                return Err(EvalError::Json("a colon is missing"));
            }
            entries.push((key, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Value::Map(Rc::new(entries)));
            }
            if !self.take(b',') {
                return Err(EvalError::Json("an object is not closed"));
            }
        }
    }

    /// A number: int if it is whole and fits, then uint, else double.
    fn number(&mut self) -> Result<Value<'a>, EvalError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .bytes()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .count();
        let digits = rest.get(..end).unwrap_or_default();
        self.at += end;
        if let Ok(int) = digits.parse::<i64>() {
            return Ok(Value::Int(int));
        }
        if let Ok(uint) = digits.parse::<u64>() {
            return Ok(Value::Uint(uint));
        }
        digits
            .parse::<f64>()
            .map(Value::Double)
            .map_err(|_| EvalError::Json("a number is malformed"))
    }

    /// A text; the reader stands on its opening quote.
    fn string(&mut self) -> Result<Text<'a>, EvalError> {
        self.at += 1;
        let plain = self.plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Text::Lent(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text::from(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => text.push_str(self.plain()),
                None => return Err(EvalError::Json("a text is not closed")),
            }
        }
    }

    /// Characters up to the next quote or backslash.
    fn plain(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .bytes()
            .position(|byte| matches!(byte, b'"' | b'\\'))
            .unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn escape(&mut self) -> Result<char, EvalError> {
        let escaped = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        match escaped {
            Some(b'n') => Ok('\n'),
            Some(b't') => Ok('\t'),
            Some(b'r') => Ok('\r'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(byte @ (b'"' | b'\\' | b'/')) => Ok(char::from(byte)),
            Some(b'u') => self.unicode(),
            _ => Err(EvalError::Json("an escape is malformed")),
        }
    }

    /// The character of `\uhhhh`, or of a pair of them; half a pair becomes the replacement character.
    fn unicode(&mut self) -> Result<char, EvalError> {
        let high = self.hex()?;
        let paired = (0xd800..0xdc00).contains(&high) && self.text.get(self.at..self.at + 2) == Some("\\u");
        if !paired {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.at += 2;
        let low = self.hex()?;
        let code = low
            .checked_sub(0xdc00)
            .filter(|low| *low < 0x400)
            .map(|low| 0x1_0000 + ((high - 0xd800) << 10) + low);
        Ok(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, EvalError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        self.at += 4;
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or(EvalError::Json("an escape is malformed"))
    }
}
