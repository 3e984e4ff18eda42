//! Text of a filter into selectors, accepting what containerd's own parser accepts.

use std::str::CharIndices;

use super::{Selector, Test};

/// Bounds the memory of one compiled expression.
const EXPRESSION_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter {input:?}, byte {at}: {problem}")]
pub struct ParseError {
    input: String,
    at: usize,
    problem: String,
}

/// `selectors := selector ("," selector)*`; empty text selects everything.
pub(super) fn selectors(input: &str) -> Result<Vec<Selector>, ParseError> {
    if input.is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser {
        input,
        rest: input.char_indices(),
    };
    let mut selectors = vec![parser.selector()?];
    loop {
        match parser.peek() {
            None => return Ok(selectors),
            Some(',') => {
                parser.next();
                selectors.push(parser.selector()?);
            }
            Some(other) => return Err(parser.fail(format!("unexpected {other:?}"))),
        }
    }
}

struct Parser<'a> {
    input: &'a str,
    rest: CharIndices<'a>,
}

impl<'a> Parser<'a> {
    /// `selector := path [operator value]`
    fn selector(&mut self) -> Result<Selector, ParseError> {
        let path = self.path()?;
        if matches!(self.peek(), None | Some(',')) {
            let test = Test::Present;
            return Ok(Selector { path, test });
        }
        let test = match self.operator()? {
            "==" => Test::Equal(self.value(false)?),
            "!=" => Test::NotEqual(self.value(false)?),
            _ => Test::Matches(expression(self.value(true)?)),
        };
        Ok(Selector { path, test })
    }

    /// `path := field ("." field)*`
    fn path(&mut self) -> Result<Vec<String>, ParseError> {
        let mut path = vec![self.field()?];
        while self.peek() == Some('.') {
            self.next();
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String, ParseError> {
        self.skip_space();
        if self.peek() == Some('"') {
            // A field is compared with label keys, which are text; other bytes match none of them.
            return Ok(String::from_utf8_lossy(&self.quoted('"')?).into_owned());
        }
        let field = self.take_while(|c| c == '_' || c.is_ascii_alphanumeric());
        match field {
            "" => Err(self.fail("expected a field".into())),
            field => Ok(field.to_owned()),
        }
    }

    fn operator(&mut self) -> Result<&'a str, ParseError> {
        self.skip_space();
        let at = self.at();
        match self.take_while(|c| matches!(c, '=' | '!' | '~')) {
            operator @ ("==" | "!=" | "~=") => Ok(operator),
            "" => Err(self.fail(r#"expected "==", "!=" or "~=""#.into())),
            other => {
                let problem = format!("unsupported operator {other:?}");
                Err(self.fail_at(at, problem))
            }
        }
    }

    /// An expression may also be quoted with slashes or bars, which it needs not escape then.
    fn value(&mut self, expression: bool) -> Result<Vec<u8>, ParseError> {
        self.skip_space();
        match self.peek() {
            Some(quote @ ('/' | '|')) if !expression => Err(self.fail(format!(
                "a value is quoted with double quotes, not {quote:?}"
            ))),
            Some(quote @ ('"' | '/' | '|')) => self.quoted(quote),
            None | Some('.' | ',' | '=' | '!' | '~' | '\0' | char::REPLACEMENT_CHARACTER) => {
                Err(self.fail("expected a value".into()))
            }
            Some(_) => {
                let start = self.at();
                self.next();
                self.take_while(|c| {
                    c != ','
                        && c != char::REPLACEMENT_CHARACTER
                        && !c.is_whitespace()
                        && !c.is_control()
                });
                let value = self.input.get(start..self.at()).unwrap_or_default();
                Ok(value.as_bytes().to_vec())
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Vec<u8>, ParseError> {
        let start = self.at();
        self.next();
        let mut value = Vec::new();
        loop {
            match self.next() {
                Some(c) if c == quote => return Ok(value),
                Some('\\') => self.escape(quote, &mut value)?,
                None | Some('\n' | '\0' | char::REPLACEMENT_CHARACTER) => {
                    return Err(self.fail_at(start, "the quoted text does not end".into()));
                }
                Some(c) => push(&mut value, c),
            }
        }
    }

    /// One escape of a Go string: `\x`, `\ooo` are bytes, `\u` and `\U` characters.
    fn escape(&mut self, quote: char, value: &mut Vec<u8>) -> Result<(), ParseError> {
        let simple = match self.peek() {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0b,
            Some('\\') => b'\\',
            Some(c) if c == quote => {
                self.next();
                push(value, c);
                return Ok(());
            }
            Some('0'..='7') => return self.byte(8, 3, value),
            Some('x') => {
                self.next();
                return self.byte(16, 2, value);
            }
            Some('u') => return self.character(4, value),
            Some('U') => return self.character(8, value),
            _ => return Err(self.fail("illegal escape".into())),
        };
        self.next();
        value.push(simple);
        Ok(())
    }

    fn byte(&mut self, radix: u32, digits: u32, value: &mut Vec<u8>) -> Result<(), ParseError> {
        let number = self.number(radix, digits)?;
        match u8::try_from(number) {
            Ok(byte) => value.push(byte),
            Err(_) => return Err(self.fail("an escaped byte is over 255".into())),
        }
        Ok(())
    }

    fn character(&mut self, digits: u32, value: &mut Vec<u8>) -> Result<(), ParseError> {
        self.next();
        let number = self.number(16, digits)?;
        if number > u32::from(char::MAX) {
            return Err(self.fail("an escaped character is beyond Unicode".into()));
        }
        // A lone surrogate becomes the replacement character, as in Go.
        push(
            value,
            char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER),
        );
        Ok(())
    }

    fn number(&mut self, radix: u32, digits: u32) -> Result<u32, ParseError> {
        let mut number: u32 = 0;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else {
                return Err(self.fail("an escape lacks digits".into()));
            };
            self.next();
            // Eight hexadecimal digits just fit.
            number = number.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(number)
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let start = self.at();
        while self.peek().is_some_and(&accept) {
            self.next();
        }
        self.input.get(start..self.at()).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next().map(|(_, c)| c)
    }

    fn next(&mut self) -> Option<char> {
        self.rest.next().map(|(_, c)| c)
    }

    fn at(&self) -> usize {
        self.rest.offset()
    }

    fn fail(&self, problem: String) -> ParseError {
        self.fail_at(self.at(), problem)
    }

    fn fail_at(&self, at: usize, problem: String) -> ParseError {
        ParseError {
            input: self.input.to_owned(),
            at,
            problem,
        }
    }
}

fn push(value: &mut Vec<u8>, c: char) {
    value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn expression(text: Vec<u8>) -> Option<regex::Regex> {
    let text = String::from_utf8(text).ok()?;
    regex::RegexBuilder::new(&text)
        .size_limit(EXPRESSION_BYTES)
        .dfa_size_limit(EXPRESSION_BYTES)
        .build()
        .ok()
}
