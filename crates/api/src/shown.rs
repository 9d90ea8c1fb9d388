//! Which fields of an object the cells of its row are made of, so that a table of thousands does not parse the others.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What of a value is read. Of a list: what of each element.
#[derive(Debug)]
pub enum Shown {
    All,
    Nothing,
    /// These fields and no others.
    Only(&'static [(&'static str, Shown)]),
    /// All fields, of these what is said.
    Rest(&'static [(&'static str, Shown)]),
}

/// Managed fields are half of many objects, and no column of a built-in kind shows them.
pub const BUT_MANAGED_FIELDS: Shown = Shown::Rest(&[(
    "metadata",
    Shown::Rest(&[("managedFields", Shown::Nothing)]),
)]);

impl Shown {
    fn of(&self, field: &str) -> &Shown {
        let (fields, others) = match self {
            Self::All => return &Self::All,
            Self::Nothing => return &Self::Nothing,
            Self::Only(fields) => (fields, &Self::Nothing),
            Self::Rest(fields) => (fields, &Self::All),
        };
        let known = fields.iter().find(|(name, _)| *name == field);
        known.map_or(others, |(_, shown)| shown)
    }
}

impl<'de> DeserializeSeed<'de> for &Shown {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Shown::All => serde::Deserialize::deserialize(deserializer),
            Shown::Nothing => deserializer
                .deserialize_ignored_any(IgnoredAny)
                .map(|_| Value::Null),
            Shown::Only(_) | Shown::Rest(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for &Shown {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, shown)) = access.next_key_seed(Name(self))? {
            let value = access.next_value_seed(shown)?;
            if let Some(name) = name {
                map.insert(name, value);
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

/// The name of a field, where it is kept, and what is read of it.
struct Name<'s>(&'s Shown);

impl<'de, 's> DeserializeSeed<'de> for Name<'s> {
    type Value = (Option<String>, &'s Shown);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'s> Visitor<'_> for Name<'s> {
    type Value = (Option<String>, &'s Shown);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let shown = self.0.of(name);
        let kept = !matches!(shown, Shown::Nothing);
        Ok((kept.then(|| name.to_owned()), shown))
    }
}

#[cfg(test)]
mod tests;
