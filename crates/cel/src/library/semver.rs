//! Semantic versions.

use std::{cmp::Ordering, fmt};

use super::{Other, Result, other};
use crate::{eval::Error, value::Val};

/// A version by semver.org, 2.0.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    /// Words between dots.
    pre: String,
    build: String,
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| digits && plain)
}

impl Semver {
    pub(crate) fn parse(text: &str) -> Option<Semver> {
        let (text, build) = text.split_once('+').unwrap_or((text, ""));
        let (text, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = text.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let words = |text: &str| text.is_empty() || text.split('.').all(word);
        let valid = parts.next().is_none() && words(pre) && words(build);
        valid.then(|| Semver {
            numbers,
            pre: pre.to_owned(),
            build: build.to_owned(),
        })
    }

    /// With a leading `v`, missing parts and leading zeros made good.
    fn normalized(text: &str) -> Option<Semver> {
        let text = text.trim().strip_prefix(['v', 'V']).unwrap_or(text.trim());
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<&str> = core.splitn(4, '.').collect();
        parts.resize(parts.len().max(3), "0");
        let plain = parts.iter().map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0",
            digits => digits,
        });
        Semver::parse(&format!("{}{rest}", plain.collect::<Vec<_>>().join(".")))
    }

    /// Bytes of it as a text.
    pub fn bytes(&self) -> usize {
        self.pre.len().saturating_add(self.build.len())
    }

    fn order(&self, other: &Semver) -> Ordering {
        let part = |a: &str, b: &str| match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            _ => a.cmp(b),
        };
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let (words, others) = (self.pre.split('.'), other.pre.split('.'));
                    let mut parts = words.clone().zip(others.clone()).map(|(a, b)| part(a, b));
                    let differs = parts.find(|order| order.is_ne());
                    differs.unwrap_or_else(|| words.count().cmp(&others.count()))
                }
            }
        })
    }
}

pub fn call<'a>(name: &str, values: &[Val<'a>]) -> Option<Result<'a>> {
    let parsed = match values {
        [Val::Text(text)] | [Val::Text(text), Val::Bool(false)] => {
            Some(Semver::parse(text.as_str()))
        }
        [Val::Text(text), Val::Bool(true)] => Some(Semver::normalized(text.as_str())),
        _ => None,
    };
    if let Some(parsed) = parsed {
        return match name {
            "isSemver" => Some(Ok(Val::Bool(parsed.is_some()))),
            "semver" => Some(
                parsed
                    .map(|version| other(Other::Semver(version)))
                    .ok_or_else(|| Error::failed("No Major.Minor.Patch elements found")),
            ),
            _ => None,
        };
    }
    let (a, rest) = (of(values.first()?)?, &values[1..]);
    let order = || rest.first().and_then(of).map(|b| a.order(b));
    let [major, minor, patch] = a.numbers;
    let int = |number: u64| Val::Int(i64::try_from(number).unwrap_or(i64::MAX));
    Some(Ok(match (name, rest.len()) {
        ("major", 0) => int(major),
        ("minor", 0) => int(minor),
        ("patch", 0) => int(patch),
        ("compareTo", 1) => Val::Int(order()? as i64),
        ("isLessThan", 1) => Val::Bool(order()?.is_lt()),
        ("isGreaterThan", 1) => Val::Bool(order()?.is_gt()),
        _ => return None,
    }))
}

fn of<'v>(value: &'v Val<'_>) -> Option<&'v Semver> {
    match value {
        Val::Other(other) => match &**other {
            Other::Semver(version) => Some(version),
            _ => None,
        },
        _ => None,
    }
}
