//! Keys that a document has twice, in the order in which upstream's decoder comes to know of them: once it has read the value.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Most keys that are told.
const MAX_KEYS: usize = 100;

/// Keys that are there already, each with the line where its value begins.
#[derive(Debug, Default)]
pub struct Keys(pub Vec<(u64, String)>);

impl Keys {
    fn add(&mut self, line: u64, key: &str) {
        if self.0.len() < MAX_KEYS {
            self.0.push((line, key.to_owned()));
        }
    }

    fn extend(&mut self, inner: Keys) {
        let room = MAX_KEYS.saturating_sub(self.0.len());
        self.0.extend(inner.0.into_iter().take(room));
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        deserializer.deserialize_any(Collector)
    }
}

struct Collector;

impl<'de> Visitor<'de> for Collector {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_i128<E>(self, _: i128) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_u128<E>(self, _: u128) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_unit<E>(self) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_none<E>(self) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Keys, D::Error> {
        Keys::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Keys, A::Error> {
        let mut twice = Keys::default();
        while let Some(inner) = access.next_element::<Keys>()? {
            twice.extend(inner);
        }
        Ok(twice)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Keys, A::Error> {
        let mut twice = Keys::default();
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            let inner: Spanned<Keys> = access.next_value()?;
            twice.extend(inner.value);
            if seen.contains(&key) {
                twice.add(inner.referenced.line(), &key);
            } else {
                seen.insert(key);
            }
        }
        Ok(twice)
    }
}
