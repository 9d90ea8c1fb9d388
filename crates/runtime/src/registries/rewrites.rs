//! Other names of repositories at mirrors: `rewrite` of k3s' `registries.yaml`.
//!
//! Patterns are tried in the order of the file. The first that makes another name is the only one that is applied.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Most patterns of one registry.
const MAX_REWRITES: usize = 256;

/// Patterns and what a match of theirs becomes, with `$1` for its first group.
#[derive(Debug, Clone, Default)]
pub struct Rewrites(Arc<[(Regex, String)]>);

impl Rewrites {
    /// What a mirror has the repository under.
    pub fn apply<'r>(&self, repository: &'r str) -> Cow<'r, str> {
        let mut changed = self
            .0
            .iter()
            .map(|(pattern, to)| pattern.replace_all(repository, to.as_str()))
            .filter(|name| name != repository);
        changed.next().unwrap_or(Cow::Borrowed(repository))
    }
}

impl<'de> Deserialize<'de> for Rewrites {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Entries)
    }
}

/// A map whose order counts.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Rewrites;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of regular expressions to what they become")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rewrites, A::Error> {
        let mut rewrites = Vec::new();
        while let Some((pattern, to)) = map.next_entry::<String, String>()? {
            if rewrites.len() == MAX_REWRITES {
                let text = format!("a registry has at most {MAX_REWRITES} rewrites");
                return Err(A::Error::custom(text));
            }
            let pattern = Regex::new(&pattern)
                .map_err(|why| A::Error::custom(format!("rewrite {pattern:?}: {why}")))?;
            rewrites.push((pattern, to));
        }
        Ok(Rewrites(rewrites.into()))
    }
}
