//! What is asked of a node's logs, as the query of a URL.

use std::time::Duration;

use jiff::Timestamp;
use knarr_meta::labels::Selector;
use percent_encoding::percent_decode_str;
use regex::bytes::{Regex, RegexBuilder};

use crate::{
    record::{Record, Source},
    store::grams::{Name, Needed},
};

/// Lines of an answer, unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 100;
/// Most lines of an answer.
pub const MAX_LIMIT: usize = 100_000;
/// Longest pattern, bytes.
const MAX_PATTERN_BYTES: usize = 4_096;
/// Memory of a compiled pattern, bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// A query that makes no sense; the message says why, for its author.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadQuery(String);

/// Which lines are wanted, and how many.
#[derive(Clone, Debug)]
pub struct Query {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    selector: Selector,
    /// Nanoseconds since 1970.
    pub since: Option<i64>,
    pattern: Option<Regex>,
    /// What every line must have, where that is known.
    literal: Option<Vec<u8>>,
    /// The newest of those found.
    pub limit: usize,
    /// Those to come, too.
    pub follow: bool,
}

impl Query {
    /// Reads `namespace`, `pod`, `container`, `labelSelector`, `sinceSeconds` or `sinceTime`, `grep` or `regex`, `ignoreCase`,
    /// `limit` and `follow`.
    ///
    /// # Errors
    /// What is not known or has no value that makes sense.
    pub fn parse(query: &str, now: Timestamp) -> Result<Self, BadQuery> {
        let mut parsed = Self {
            namespace: None,
            pod: None,
            container: None,
            selector: Selector::everything(),
            since: None,
            pattern: None,
            literal: None,
            limit: DEFAULT_LIMIT,
            follow: false,
        };
        let (mut grep, mut regex, mut ignore_case) = (None, None, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            let bad = |why: &dyn std::fmt::Display| BadQuery(format!("{key}={value}: {why}"));
            match key {
                "namespace" => parsed.namespace = Some(value),
                "pod" => parsed.pod = Some(value),
                "container" => parsed.container = Some(value),
                "labelSelector" => {
                    parsed.selector = Selector::parse(&value).map_err(|error| bad(&error))?;
                }
                "sinceSeconds" => {
                    let seconds = value.parse().map_err(|_| bad(&"not a number of seconds"))?;
                    let since = now.checked_sub(Duration::from_secs(seconds));
                    parsed.since = Some(nanos(since.unwrap_or(Timestamp::UNIX_EPOCH)));
                }
                "sinceTime" => {
                    let time = value
                        .parse()
                        .map_err(|_| bad(&"not a time as RFC 3339 has it"))?;
                    parsed.since = Some(nanos(time));
                }
                "grep" => grep = Some(value),
                "regex" => regex = Some(value),
                "ignoreCase" => ignore_case = truth(&value).ok_or_else(|| bad(&"true or false"))?,
                "follow" => parsed.follow = truth(&value).ok_or_else(|| bad(&"true or false"))?,
                "limit" => {
                    let limit = value.parse().map_err(|_| bad(&"not a number of lines"))?;
                    if limit > MAX_LIMIT {
                        return Err(bad(&format!("at most {MAX_LIMIT} lines")));
                    }
                    parsed.limit = limit;
                }
                _ => return Err(BadQuery(format!("{key} is not known"))),
            }
        }
        parsed.set_pattern(grep, regex, ignore_case)?;
        Ok(parsed)
    }

    fn set_pattern(
        &mut self,
        grep: Option<String>,
        regex: Option<String>,
        ignore_case: bool,
    ) -> Result<(), BadQuery> {
        let (pattern, literal) = match (grep, regex) {
            (None, None) => return Ok(()),
            (Some(_), Some(_)) => {
                return Err(BadQuery("grep and regex exclude each other".to_owned()));
            }
            (Some(text), None) => (regex::escape(&text), Some(text)),
            (None, Some(pattern)) => (pattern, None),
        };
        if pattern.len() > MAX_PATTERN_BYTES {
            let why = format!("the pattern is longer than {MAX_PATTERN_BYTES} bytes");
            return Err(BadQuery(why));
        }
        let built = RegexBuilder::new(&pattern)
            .case_insensitive(ignore_case)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .build();
        self.pattern = Some(built.map_err(|error| BadQuery(format!("regex: {error}")))?);
        // Other letters than those of ASCII may have lower cases that the index does not know.
        let indexed = literal.filter(|text| !ignore_case || text.is_ascii());
        self.literal = indexed.map(String::into_bytes);
        Ok(())
    }

    /// What a block must have; the second is whether an index helps with the pattern, if there is one.
    pub fn needed(&self) -> (Needed, bool) {
        let mut needed = Needed::default();
        for (what, name) in [
            (Name::Namespace, &self.namespace),
            (Name::Pod, &self.pod),
            (Name::Container, &self.container),
        ] {
            if let Some(name) = name {
                needed.name(what, name);
            }
        }
        let helps = match &self.literal {
            Some(literal) => needed.text(literal),
            None => self.pattern.is_none(),
        };
        (needed, helps)
    }

    /// Whether bytes that hold many lines may hold a line that is wanted: patterns that begin or end with a line say nothing
    /// there.
    pub fn may_be_in(&self, bytes: &[u8]) -> bool {
        match (&self.pattern, &self.literal) {
            (Some(pattern), Some(_)) => pattern.is_match(bytes),
            _ => true,
        }
    }

    /// Whether lines of a source can be wanted.
    pub fn takes(&self, source: &Source) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|w| w == has);
        is(&self.namespace, &source.namespace)
            && is(&self.pod, &source.pod)
            && is(&self.container, &source.container)
            && self.selector.matches(&source.labels)
    }

    /// Whether a record is wanted, of a source that is.
    pub fn matches(&self, record: &Record<'_>) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self
                .pattern
                .as_ref()
                .is_none_or(|p| p.is_match(record.text))
    }
}

fn decode(value: &str) -> Result<String, BadQuery> {
    let value = value.replace('+', " ");
    let decoded = percent_decode_str(&value).decode_utf8();
    let decoded = decoded.map_err(|_| BadQuery(format!("{value}: not UTF-8")))?;
    Ok(decoded.into_owned())
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_say_what_is_wrong_with_them() {
        for (query, wanted) in [
            ("", ""),
            ("namespace=a&pod=b&container=c&follow", ""),
            ("grep=a%20b+c&ignoreCase=true&limit=7", ""),
            ("labelSelector=app+in+(a,b)&sinceSeconds=60", ""),
            ("sinceTime=2030-01-01T00:00:00Z", ""),
            ("sinceSeconds=99999999999999", ""),
            (
                "sinceSeconds=soon",
                "sinceSeconds=soon: not a number of seconds",
            ),
            ("limit=100001", "limit=100001: at most 100000 lines"),
            ("grep=a&regex=b", "grep and regex exclude each other"),
            ("follow=maybe", "follow=maybe: true or false"),
            ("lines=5", "lines is not known"),
            ("pod=%ff", "%ff: not UTF-8"),
        ] {
            let parsed = Query::parse(query, Timestamp::UNIX_EPOCH);
            let said = parsed
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert_eq!(said, wanted, "{query}");
        }
        let long = format!("regex={}", "a".repeat(5_000));
        for bad in [
            "labelSelector=a=b=c",
            "regex=(",
            "regex=(a{1000}){1000}",
            &long,
        ] {
            assert!(Query::parse(bad, Timestamp::UNIX_EPOCH).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_index_helps_with_literals_of_some_length() {
        for (query, wanted) in [
            ("pod=x", true),
            ("grep=orde", true),
            ("grep=ord", false),
            ("grep=%C3%A4%C3%B6%C3%BC&ignoreCase", false),
            ("grep=%C3%A4%C3%B6%C3%BC", true),
            ("regex=order", false),
        ] {
            let parsed = Query::parse(query, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(parsed.needed().1, wanted, "{query}");
        }
    }
}
