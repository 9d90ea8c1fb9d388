//! Questions that are asked under another name, as CoreDNS' plugin `rewrite` has it.
//!
//! Names are changed as text, in lower case and with the dot at their end. Answers say the name that was asked for in their question
//! always, in their records as far as the rule says.

use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record},
};
use regex::{Regex, RegexBuilder};

/// A pattern's longest text, as CoreDNS'; and what it may take once it is compiled.
const MAX_PATTERN_BYTES: usize = 10_000;
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// How a text becomes another.
#[derive(Debug, Clone)]
enum Change {
    Regex {
        pattern: Regex,
        replacement: String,
    },
    /// A name and what is below it.
    Below {
        from: String,
        to: String,
    },
    Suffix {
        from: String,
        to: String,
    },
}

impl Change {
    fn apply(&self, text: &str) -> String {
        match self {
            Self::Regex {
                pattern,
                replacement,
            } => replaced(pattern, replacement, text).unwrap_or_else(|| text.to_owned()),
            Self::Below { from, to } if text == from => to.clone(),
            Self::Below { from, to } => match text.strip_suffix(from.as_str()) {
                Some(rest) if rest.ends_with('.') => format!("{rest}{to}"),
                _ => text.to_owned(),
            },
            Self::Suffix { from, to } => match text.strip_suffix(from.as_str()) {
                Some(rest) => format!("{rest}{to}"),
                None => text.to_owned(),
            },
        }
    }
}

/// The replacement with what the pattern's groups have found, `{0}` being all of it.
fn replaced(pattern: &Regex, replacement: &str, text: &str) -> Option<String> {
    let found = pattern.captures(text)?;
    let mut result = replacement.to_owned();
    for (index, group) in found.iter().enumerate() {
        let group = group.map_or("", |group| group.as_str());
        result = result.replace(&format!("{{{index}}}"), group);
    }
    Some(result)
}

/// What a rule does to answers.
#[derive(Debug, Clone)]
enum Back {
    /// To the names of records.
    Names(Change),
    /// To the names that records have as their values.
    Values(Change),
}

#[derive(Debug)]
enum Match {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Substring(String),
    Regex(Regex),
}

impl Match {
    fn apply(&self, name: &str, to: &str) -> Option<String> {
        match self {
            Self::Exact(from) => (name == from).then(|| to.to_owned()),
            Self::Prefix(from) => name
                .strip_prefix(from.as_str())
                .map(|rest| format!("{to}{rest}")),
            Self::Suffix(from) => name
                .strip_suffix(from.as_str())
                .map(|rest| format!("{rest}{to}")),
            Self::Substring(from) => name.contains(from.as_str()).then(|| name.replace(from, to)),
            Self::Regex(pattern) => replaced(pattern, to, name),
        }
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rewrite {
    /// Whether the next rule is looked at after this one has changed a name.
    goes_on: bool,
    matches: Match,
    to: String,
    /// The answer's names are changed back.
    is_auto: bool,
    back: Vec<Back>,
}

impl Rewrite {
    /// From the words after `rewrite`.
    ///
    /// # Errors
    /// Says what is not understood.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let (goes_on, words) = match words.first().map(String::as_str) {
            Some("continue") => (true, &words[1..]),
            Some("stop") => (false, &words[1..]),
            _ => (false, words),
        };
        let Some((field, words)) = words.split_first() else {
            return Err("rewrite says nothing to rewrite".to_owned());
        };
        if field != "name" {
            return Err(format!("rewrite knows names only, and not {field:?}"));
        }
        let (sort, from, to, rest) = match words {
            [from, to] => ("exact", from, to, &words[2..]),
            [sort, from, to, rest @ ..] => (sort.as_str(), from, to, rest),
            _ => return Err("rewrite name takes a name and what it becomes".to_owned()),
        };
        let lower = |text: &str| text.to_lowercase();
        let matches = match sort.to_lowercase().as_str() {
            "exact" => Match::Exact(full(from)),
            "prefix" => Match::Prefix(lower(from)),
            "suffix" => Match::Suffix(full(from)),
            "substring" => Match::Substring(lower(from)),
            "regex" => Match::Regex(pattern(from)?),
            _ => {
                return Err(format!(
                    "a name is matched as exact, prefix, suffix, substring or regex, and not as {sort:?}"
                ));
            }
        };
        if matches!(&matches, Match::Substring(text) | Match::Prefix(text) if text.is_empty()) {
            return Err("rewrite looks for nothing".to_owned());
        }
        let to = match &matches {
            Match::Exact(_) | Match::Suffix(_) | Match::Regex(_) => full(to),
            Match::Prefix(_) | Match::Substring(_) => lower(to),
        };
        let (asked_auto, mut back) = answers(rest)?;
        let is_auto = match &matches {
            Match::Exact(_) => true,
            // The suffix itself leads back.
            Match::Suffix(from) if asked_auto => {
                let change = Change::Suffix {
                    from: to.clone(),
                    to: from.clone(),
                };
                back.insert(0, Back::Values(change.clone()));
                back.insert(0, Back::Names(change));
                false
            }
            _ => asked_auto,
        };
        Ok(Self {
            goes_on,
            matches,
            to,
            is_auto,
            back,
        })
    }
}

/// `answer auto`, `answer name FROM TO`, `answer value FROM TO`.
fn answers(mut words: &[String]) -> Result<(bool, Vec<Back>), String> {
    let (mut is_auto, mut back) = (false, Vec::new());
    let mut is_first = true;
    while let Some((word, rest)) = words.split_first() {
        let rest = match word.as_str() {
            "answer" => rest,
            _ if is_first => return Err(format!("{word:?} stands where an answer's rule would")),
            _ => words,
        };
        is_first = false;
        words = match rest {
            [sort, rest @ ..] if sort == "auto" => {
                is_auto = true;
                rest
            }
            [sort, from, to, rest @ ..] if sort == "name" || sort == "value" => {
                let change = Change::Regex {
                    pattern: pattern(from)?,
                    replacement: full(to),
                };
                back.push(match sort.as_str() {
                    "name" => Back::Names(change),
                    _ => Back::Values(change),
                });
                rest
            }
            _ => return Err("an answer's rule is auto, name FROM TO or value FROM TO".to_owned()),
        };
    }
    Ok((is_auto, back))
}

fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!("a pattern has {MAX_PATTERN_BYTES} bytes at most"));
    }
    let built = RegexBuilder::new(text)
        .size_limit(MAX_COMPILED_BYTES)
        .build();
    built.map_err(|error| format!("{text:?} is no pattern: {error}"))
}

/// In lower case, with the dot at its end.
fn full(name: &str) -> String {
    let name = name.to_lowercase();
    match name.ends_with('.') {
        true => name,
        false => format!("{name}."),
    }
}

/// How an answer becomes one to what was asked.
#[derive(Debug)]
pub struct Undo {
    asked: Name,
    back: Vec<Back>,
}

/// The name to ask for instead, if a rule says so.
pub fn rewrite(rules: &[Rewrite], asked: &Name) -> Option<(Name, Undo)> {
    let mut text = asked.to_lowercase().to_ascii();
    let mut back = Vec::new();
    let mut is_changed = false;
    for rule in rules {
        let Some(to) = rule.matches.apply(&text, &rule.to) else {
            continue;
        };
        // What a rule makes of a name may be none.
        if Name::from_ascii(&to).is_err() {
            continue;
        }
        if rule.is_auto {
            let change = Change::Below {
                from: to.clone(),
                to: asked.to_lowercase().to_ascii(),
            };
            back.push(Back::Names(change.clone()));
            back.push(Back::Values(change));
        }
        back.extend(rule.back.iter().cloned());
        (text, is_changed) = (to, true);
        if !rule.goes_on {
            break;
        }
    }
    if !is_changed {
        return None;
    }
    let mut name = Name::from_ascii(&text).ok()?;
    name.set_fqdn(true);
    let asked = asked.clone();
    Some((name, Undo { asked, back }))
}

impl Undo {
    /// Makes an answer one to the question that was asked.
    pub fn apply(&self, answer: &mut Message) {
        for query in &mut answer.queries {
            query.set_name(self.asked.clone());
        }
        let records = answer.answers.iter_mut();
        let records = records.chain(&mut answer.authorities);
        for record in records.chain(&mut answer.additionals) {
            // The last one first, as CoreDNS.
            for back in self.back.iter().rev() {
                match back {
                    Back::Names(change) => {
                        if let Some(name) = changed(change, &record.name) {
                            record.name = name;
                        }
                    }
                    Back::Values(change) => change_value(change, record),
                }
            }
        }
    }
}

/// What a name becomes; `None` where it stays, or would be none.
fn changed(change: &Change, name: &Name) -> Option<Name> {
    let text = name.to_ascii();
    let to = change.apply(&text);
    if to == text {
        return None;
    }
    let mut name = Name::from_ascii(&to).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn change_value(change: &Change, record: &mut Record) {
    let name = match &mut record.data {
        RData::CNAME(value) => &mut value.0,
        RData::NS(value) => &mut value.0,
        RData::PTR(value) => &mut value.0,
        RData::MX(value) => &mut value.exchange,
        RData::SRV(value) => &mut value.target,
        RData::NAPTR(value) => &mut value.replacement,
        _ => return,
    };
    if let Some(to) = changed(change, name) {
        *name = to;
    }
}

#[cfg(test)]
mod tests;
