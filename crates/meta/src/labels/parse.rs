//! The grammar of label selectors as upstream's lexer and parser accept it, with their messages.

use std::collections::BTreeSet;

use super::{Operator, ParseError, Requirement, key_error};
use crate::field::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Error,
    End,
    ClosedParenthesis,
    Comma,
    Bang,
    DoubleEquals,
    Equals,
    GreaterThan,
    Identifier,
    In,
    LessThan,
    NotEquals,
    NotIn,
    OpenParenthesis,
}

fn token(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::ClosedParenthesis,
        "," => Token::Comma,
        "!" => Token::Bang,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::GreaterThan,
        "in" => Token::In,
        "<" => Token::LessThan,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::OpenParenthesis,
        _ => return None,
    })
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        let Some(first) = rest.chars().next() else {
            items.push((Token::End, String::new()));
            return items;
        };
        let (item, length) = if is_special(first) {
            scan_special(rest)
        } else {
            let length = rest
                .find(|c| is_special(c) || is_space(c))
                .unwrap_or(rest.len());
            let word = &rest[..length];
            let kind = token(word).unwrap_or(Token::Identifier);
            ((kind, word.to_owned()), length)
        };
        rest = &rest[length..];
        items.push(item);
    }
}

/// The longest operator at the start. What follows it is left, also where an operator could be longer but is not.
fn scan_special(rest: &str) -> ((Token, String), usize) {
    let run = rest.find(|c| !is_special(c)).unwrap_or(rest.len());
    let longest = (1..=run.min(2))
        .rev()
        .find_map(|length| token(&rest[..length]).map(|kind| (kind, length)));
    match longest {
        Some((kind, length)) => ((kind, rest[..length].to_owned()), length),
        None => (
            (
                Token::Error,
                format!("error expected: keyword found '{}'", &rest[..run]),
            ),
            run,
        ),
    }
}

struct Parser {
    items: Vec<(Token, String)>,
    position: usize,
}

impl Parser {
    /// The token ahead; past the end it stays at the end.
    fn peek(&self) -> (Token, &str) {
        let index = self.position.min(self.items.len() - 1);
        let (kind, text) = &self.items[index];
        (*kind, text)
    }

    /// The token ahead where `in` and `notin` are words.
    fn peek_value(&self) -> (Token, &str) {
        match self.peek() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn next(&mut self) -> (Token, String) {
        let (kind, text) = self.peek();
        let item = (kind, text.to_owned());
        self.position += 1;
        item
    }

    fn next_value(&mut self) -> (Token, String) {
        match self.next() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let (mut kind, mut key) = self.next_value();
        let negated = kind == Token::Bang;
        if negated {
            (kind, key) = self.next_value();
        }
        if kind != Token::Identifier {
            return Err(ParseError(format!("found '{key}', expected: identifier")));
        }
        if let Some(error) = key_error(&key, &Path::root()) {
            return Err(ParseError(error_text(&error)));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values.into_iter().collect())
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        let (kind, text) = self.next();
        Ok(match kind {
            Token::In => Operator::In,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::GreaterThan => Operator::GreaterThan,
            Token::LessThan => Operator::LessThan,
            Token::NotIn => Operator::NotIn,
            Token::NotEquals => Operator::NotEquals,
            _ => {
                return Err(ParseError(format!(
                    "found '{text}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, ParseError> {
        let (kind, text) = self.next_value();
        if kind != Token::OpenParenthesis {
            return Err(ParseError(format!("found '{text}' expected: '('")));
        }
        match self.peek_value() {
            (Token::Identifier | Token::Comma, _) => {
                let first = self.peek_value().1.to_owned();
                let values = self.identifiers()?;
                if self.next_value().0 != Token::ClosedParenthesis {
                    return Err(ParseError(format!("found '{first}', expected: ')'")));
                }
                Ok(values)
            }
            (Token::ClosedParenthesis, _) => {
                self.position += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            (_, text) => Err(ParseError(format!(
                "found '{text}', expected: ',', ')' or identifier"
            ))),
        }
    }

    /// Words between commas; an empty place between two commas or beside a parenthesis is the empty value.
    fn identifiers(&mut self) -> Result<BTreeSet<String>, ParseError> {
        let mut values = BTreeSet::new();
        loop {
            match self.next_value() {
                (Token::Identifier, text) => {
                    values.insert(text);
                    match self.peek_value() {
                        (Token::Comma, _) => {}
                        (Token::ClosedParenthesis, _) => return Ok(values),
                        (_, text) => {
                            return Err(ParseError(format!(
                                "found '{text}', expected: ',' or ')'"
                            )));
                        }
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek_value().0 {
                        Token::ClosedParenthesis => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.position += 1;
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => {
                    return Err(ParseError(format!(
                        "found '{text}', expected: ',', or identifier"
                    )));
                }
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, ParseError> {
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_value() {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(ParseError(format!("found '{text}', expected: identifier"))),
        }
    }
}

/// A nil path prints as `<nil>` upstream, which clients see for a bad key.
fn error_text(error: &crate::field::Error) -> String {
    format!("<nil>: {}", error.body())
}

pub(super) fn parse(selector: &str) -> Result<Vec<Requirement>, ParseError> {
    let mut parser = Parser {
        items: scan(selector),
        position: 0,
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek_value() {
            (Token::Identifier | Token::Bang, _) => {
                let requirement = parser
                    .requirement()
                    .map_err(|error| ParseError(format!("unable to parse requirement: {error}")))?;
                requirements.push(requirement);
                match parser.next_value() {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => {
                        let (kind, text) = parser.peek_value();
                        if !matches!(kind, Token::Identifier | Token::Bang) {
                            return Err(ParseError(format!(
                                "found '{text}', expected: identifier after ','"
                            )));
                        }
                    }
                    (_, text) => {
                        return Err(ParseError(format!(
                            "found '{text}', expected: ',' or 'end of string'"
                        )));
                    }
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, text) => {
                return Err(ParseError(format!(
                    "found '{text}', expected: !, identifier, or 'end of string'"
                )));
            }
        }
    }
}
