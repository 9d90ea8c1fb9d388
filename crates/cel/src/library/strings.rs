//! Texts, as cel-go's strings library.

use super::{Result, tenth};
use crate::{
    cost::Cost,
    eval::Error,
    value::{List, MAX_TEXT_BYTES, Val, show},
};

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    if let ("join", [Val::List(list), rest @ ..]) = (name, values) {
        let separator = rest.first().and_then(Val::as_str).unwrap_or_default();
        return Some(join(list, separator, cost));
    }
    let (subject, arguments) = values.split_first()?;
    let text = subject.as_str()?;
    let first = arguments.first();
    let word = first.and_then(Val::as_str);
    // What is looked through is paid here, what is made where it is made.
    if let Err(exceeded) = cost.scan(text.len()) {
        return Some(Err(exceeded.into()));
    }
    let mut made = |text: String| Ok(Val::text(text, cost)?);
    Some(match (name, arguments.len()) {
        ("contains", 1) => Ok(Val::Bool(text.contains(word?))),
        ("startsWith", 1) => Ok(Val::Bool(text.starts_with(word?))),
        ("endsWith", 1) => Ok(Val::Bool(text.ends_with(word?))),
        ("charAt", 1) => char_at(text, int(first?)?),
        ("indexOf", 1 | 2) => index_of(text, word?, arguments.get(1).and_then(int)),
        ("lastIndexOf", 1 | 2) => last_index_of(text, word?, arguments.get(1).and_then(int)),
        ("lowerAscii", 0) => made(text.to_ascii_lowercase()),
        ("upperAscii", 0) => made(text.to_ascii_uppercase()),
        ("trim", 0) => made(text.trim().to_owned()),
        ("reverse", 0) => made(text.chars().rev().collect()),
        ("replace", 2 | 3) => {
            let limit = arguments.get(2).and_then(int);
            replace(text, word?, arguments[1].as_str()?, limit, cost)
        }
        ("split", 1 | 2) => split(text, word?, arguments.get(1).and_then(int), cost),
        ("substring", 1 | 2) => substring(text, int(first?)?, arguments.get(1).and_then(int), cost),
        ("strings.quote", 0) => made(knarr_meta::field::quote(text)),
        ("format", 1) => match first? {
            Val::List(list) => format(text, list, cost),
            _ => return None,
        },
        _ => return None,
    })
}

fn int(value: &Val<'_>) -> Option<i64> {
    match value {
        Val::Int(number) => Some(*number),
        _ => None,
    }
}

fn out_of_range<'a>(index: i64) -> Result<'a> {
    Err(Error::failed(format!("index out of range: {index}")))
}

fn place(count: usize, index: i64) -> Option<usize> {
    usize::try_from(index).ok().filter(|index| *index <= count)
}

fn char_at<'a>(text: &str, index: i64) -> Result<'a> {
    match place(text.chars().count(), index) {
        Some(at) => {
            let one: String = text.chars().skip(at).take(1).collect();
            Ok(Val::made_text(one))
        }
        None => out_of_range(index),
    }
}

/// Places count characters.
fn index_of<'a>(text: &str, word: &str, from: Option<i64>) -> Result<'a> {
    let count = text.chars().count();
    let index = from.unwrap_or(0);
    if word.is_empty() {
        return Ok(Val::Int(index));
    }
    let Some(from) = place(count, index) else {
        return out_of_range(index);
    };
    let start = text
        .char_indices()
        .nth(from)
        .map_or(text.len(), |(at, _)| at);
    let rest = &text[start..];
    let found = rest.find(word).map(|at| rest[..at].chars().count());
    Ok(Val::Int(
        found.map_or(-1, |before| from.saturating_add(before) as i64),
    ))
}

fn last_index_of<'a>(text: &str, word: &str, from: Option<i64>) -> Result<'a> {
    let count = text.chars().count();
    let index = from.unwrap_or(count as i64);
    let Some(last) = place(count, index) else {
        return out_of_range(index);
    };
    if word.is_empty() {
        return Ok(Val::Int(last as i64));
    }
    // The word may begin there, and go on behind.
    let end = text
        .char_indices()
        .nth(last)
        .map_or(text.len(), |(at, _)| at);
    let mut found = text.rmatch_indices(word).filter(|(at, _)| *at <= end);
    let at = found.next().map(|(at, _)| at);
    Ok(Val::Int(
        at.map_or(-1, |at| text[..at].chars().count() as i64),
    ))
}

fn replace<'a>(
    text: &str,
    word: &str,
    by: &str,
    limit: Option<i64>,
    cost: &mut Cost,
) -> Result<'a> {
    let limit = match limit {
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let places = if word.is_empty() {
        text.chars().count().saturating_add(1)
    } else {
        text.matches(word).count()
    };
    let size = text
        .len()
        .saturating_add(places.min(limit).saturating_mul(by.len()));
    if size > MAX_TEXT_BYTES {
        return Err(Error::Cost);
    }
    cost.make(size)?;
    Ok(Val::made_text(match limit {
        usize::MAX => text.replace(word, by),
        limit => text.replacen(word, by, limit),
    }))
}

fn split<'a>(text: &str, separator: &str, limit: Option<i64>, cost: &mut Cost) -> Result<'a> {
    let limit = limit.unwrap_or(-1);
    if limit == 0 {
        return Ok(Val::list(Vec::new()));
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(left) = rest {
        let cut = match separator {
            _ if parts.len() >= most.saturating_sub(1) => None,
            // Each character is a part; behind the last one there is none.
            "" => left.char_indices().nth(1).map(|(at, _)| left.split_at(at)),
            separator => left.split_once(separator),
        };
        let (part, behind) = match cut {
            Some((part, behind)) => (part, Some(behind)),
            None => (left, None),
        };
        if !(separator.is_empty() && left.is_empty()) {
            cost.make_elements(1)?;
            parts.push(Val::text(part, cost)?);
        }
        rest = behind;
    }
    Ok(Val::list(parts))
}

fn substring<'a>(text: &str, start: i64, end: Option<i64>, cost: &mut Cost) -> Result<'a> {
    let count = text.chars().count();
    let Some(from) = place(count, start) else {
        return out_of_range(start);
    };
    let end = end.unwrap_or(count as i64);
    let Some(to) = place(count, end) else {
        return out_of_range(end);
    };
    if from > to {
        return Err(Error::failed(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    let part: String = text.chars().take(to).skip(from).collect();
    Ok(Val::text(part, cost)?)
}

fn join<'a>(list: &List<'a>, separator: &str, cost: &mut Cost) -> Result<'a> {
    let mut out = String::new();
    for index in 0..list.len() {
        let item = list.get(index, cost)?;
        let text = item.as_ref().and_then(Val::as_str);
        let text = text.ok_or_else(Error::no_such_overload)?;
        let separator = if index > 0 { separator } else { "" };
        cost.make(text.len().saturating_add(separator.len()))?;
        if out.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
            return Err(Error::Cost);
        }
        out.push_str(separator);
        out.push_str(text);
    }
    cost.pay_units(tenth((out.len() as u64).saturating_mul(2)))?;
    Ok(Val::made_text(out))
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o`, with a precision for `%f` and `%e`.
fn format<'a>(text: &str, arguments: &List<'a>, cost: &mut Cost) -> Result<'a> {
    let mut out = String::new();
    let mut given = 0..arguments.len();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut precision = 6;
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            precision = after[..digits].parse().unwrap_or(6).min(100);
            rest = &after[digits..];
        }
        let Some(verb) = rest.chars().next() else {
            return Err(Error::failed("unexpected end of string"));
        };
        rest = &rest[verb.len_utf8()..];
        let value = match given.next() {
            Some(index) => arguments.get(index, cost)?,
            None => None,
        };
        let value = value
            .ok_or_else(|| Error::failed(format!("index {} out of range", arguments.len())))?;
        let clause = clause(verb, precision, &value, cost)?;
        cost.make(clause.len())?;
        out.push_str(&clause);
        if out.len() > MAX_TEXT_BYTES {
            return Err(Error::Cost);
        }
    }
    out.push_str(rest);
    Ok(Val::text(out, cost)?)
}

fn clause(
    verb: char,
    precision: usize,
    value: &Val<'_>,
    cost: &mut Cost,
) -> std::result::Result<String, Error> {
    if matches!(value, Val::Text(_) | Val::Bytes(_)) {
        // Twice as long in hexadecimal digits.
        cost.make(
            usize::try_from(value.size())
                .unwrap_or(usize::MAX)
                .saturating_mul(2),
        )?;
    }
    Ok(match (verb, value) {
        ('s', value) => show(value, cost)?,
        ('d', Val::Int(_) | Val::Uint(_)) => show(value, cost)?,
        ('f', Val::Double(number)) => format!("{number:.precision$}"),
        ('f', Val::Int(number)) => format!("{:.precision$}", *number as f64),
        ('e', Val::Double(number)) => {
            let text = format!("{number:.precision$e}");
            match text.split_once('e') {
                Some((digits, exponent)) => match exponent.strip_prefix('-') {
                    Some(exponent) => format!("{digits}e-{exponent:0>2}"),
                    None => format!("{digits}e+{exponent:0>2}"),
                },
                None => text,
            }
        }
        ('b', Val::Int(number)) if *number < 0 => format!("-{:b}", number.unsigned_abs()),
        ('b', Val::Int(number)) => format!("{number:b}"),
        ('b', Val::Uint(number)) => format!("{number:b}"),
        ('b', Val::Bool(flag)) => u8::from(*flag).to_string(),
        ('o', Val::Int(number)) => format!("{number:o}"),
        ('o', Val::Uint(number)) => format!("{number:o}"),
        ('x', Val::Int(number)) => format!("{number:x}"),
        ('x', Val::Uint(number)) => format!("{number:x}"),
        ('X', Val::Int(number)) => format!("{number:X}"),
        ('X', Val::Uint(number)) => format!("{number:X}"),
        ('x', Val::Text(text)) => hex(text.as_str().as_bytes()),
        ('x', Val::Bytes(bytes)) => hex(bytes),
        ('X', Val::Text(text)) => hex(text.as_str().as_bytes()).to_uppercase(),
        ('X', Val::Bytes(bytes)) => hex(bytes).to_uppercase(),
        (verb, _) => {
            return Err(Error::failed(format!(
                "error during formatting: could not parse formatting clause: unrecognized formatting clause \"{verb}\""
            )));
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
