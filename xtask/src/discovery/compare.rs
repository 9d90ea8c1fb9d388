//! Differences of two trees, each told where it begins.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// How much of a value is shown.
const SHOWN_CHARS: usize = 160;

/// Which side has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Upstream,
    Knarr,
    /// Both have it, and not the same.
    Both,
}

impl Side {
    /// As the list has it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Upstream => "upstream",
            Side::Knarr => "knarr",
            Side::Both => "both",
        }
    }
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Names from the root of the tree; the first is the document's.
    pub place: Vec<String>,
    pub side: Side,
    /// What it is there, shortened; empty where it is not.
    pub upstream: String,
    pub knarr: String,
}

impl Difference {
    pub fn document(&self) -> &str {
        self.place.first().map_or("", String::as_str)
    }

    /// The place below the document, as the list has it.
    pub fn below(&self) -> String {
        self.place.get(1..).unwrap_or_default().join(" ")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.below())?;
        match self.side {
            Side::Upstream => write!(f, "upstream alone: {}", self.upstream),
            Side::Knarr => write!(f, "knarr alone: {}", self.knarr),
            Side::Both => write!(f, "{} upstream, {} here", self.upstream, self.knarr),
        }
    }
}

/// All differences, in the order of their places.
pub fn trees(upstream: &Value, knarr: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), upstream, knarr, &mut found);
    found
}

fn walk(place: &mut Vec<String>, upstream: &Value, knarr: &Value, found: &mut Vec<Difference>) {
    let (Some(theirs), Some(ours)) = (upstream.as_object(), knarr.as_object()) else {
        if upstream != knarr {
            found.push(difference(place, Some(upstream), Some(knarr)));
        }
        return;
    };
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for name in names {
        place.push(name.clone());
        match (theirs.get(name), ours.get(name)) {
            (Some(theirs), Some(ours)) => walk(place, theirs, ours, found),
            (theirs, ours) => found.push(difference(place, theirs, ours)),
        }
        place.pop();
    }
}

fn difference(place: &[String], upstream: Option<&Value>, knarr: Option<&Value>) -> Difference {
    let side = match (upstream, knarr) {
        (Some(_), None) => Side::Upstream,
        (None, Some(_)) => Side::Knarr,
        _ => Side::Both,
    };
    Difference {
        place: place.to_vec(),
        side,
        upstream: upstream.map_or_else(String::new, shown),
        knarr: knarr.map_or_else(String::new, shown),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_where_they_begin() {
        let upstream =
            json!({"v2": {"same": 1, "theirs": {"a": {"b": 1}}, "other": {"x": [1], "y": 2}}});
        let knarr = json!({"v2": {"same": 1, "ours": 3, "other": {"x": [1, 2], "y": 2}}});
        let found = trees(&upstream, &knarr);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "other x: [1] upstream, [1,2] here",
                "ours: knarr alone: 3",
                "theirs: upstream alone: {\"a\":{\"b\":1}}",
            ]
        );
        assert!(found.iter().all(|found| found.document() == "v2"));
        assert!(trees(&upstream, &upstream).is_empty());
    }
}
