//! Values. Those of an object lie in its JSON tree, and are read as their schema says when a rule looks at them.
//!
//! Values share their parts, so that one of a few bytes may be a tree without an end. Whatever walks one therefore pays for each
//! step ([`Cost`]); there is no `PartialEq`, `Display` or iterator that does not.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map as JsonMap, Value};

use crate::{
    cost::{Cost, Exceeded},
    library::Other,
    types::{ListKind, ListType, Object, Type},
};

mod compare;
mod show;

pub(crate) use compare::{compare, equal};
pub(crate) use show::{MAX_TEXT_BYTES, brief, show};

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Val<'a>>>),
    /// By its name.
    Type(Arc<str>),
    Other(Arc<Other>),
}

/// A text, of the object or made.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    Of(&'a str),
    Owned(Arc<str>),
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Text::Of(text) => text,
            Text::Owned(text) => text,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// With the type of its elements; none: whatever they are.
    Json(&'a [Value], Option<&'a ListType>),
    Owned(Arc<Vec<Val<'a>>>),
}

/// A map, or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    Object(&'a JsonMap<String, Value>, &'a Object),
    /// With the type of its values.
    Json(&'a JsonMap<String, Value>, Option<&'a Type>),
    Owned(Arc<Vec<(Val<'a>, Val<'a>)>>),
    /// Maps by text; every key that is not there is an empty one: the domains of a device's attributes.
    Sparse(Arc<Vec<(Val<'a>, Val<'a>)>>),
    /// An object that an expression made: `Object.spec{replicas: 1}`.
    Struct(Arc<Struct<'a>>),
}

/// An object that an expression made.
#[derive(Clone, Debug)]
pub struct Struct<'a> {
    /// `Object.spec`
    pub name: &'a str,
    pub fields: Vec<(&'a str, Val<'a>)>,
}

static NO_TYPE: Type = Type::Dyn;

impl<'a> Val<'a> {
    /// A value of JSON as its type has it. What does not fit its type is taken as it is: the schema's own validation tells.
    ///
    /// # Errors
    /// Where there is no work left for a text that must be decoded.
    pub fn lift(value: &'a Value, ty: &'a Type, cost: &mut Cost) -> Result<Val<'a>, Exceeded> {
        Ok(match (value, ty) {
            (Value::Number(number), Type::Double) => {
                Val::Double(number.as_f64().unwrap_or_default())
            }
            (Value::Number(number), Type::Int) => match number.as_i64() {
                Some(int) => Val::Int(int),
                None => Val::Int(number.as_f64().unwrap_or_default() as i64),
            },
            (Value::String(text), ty) => lift_text(text, ty, cost)?,
            (Value::Array(items), Type::List(list)) => Val::List(List::Json(items, Some(list))),
            (Value::Object(map), Type::Object(object)) => Val::Map(Map::Object(map, object)),
            (Value::Object(map), Type::Map(types)) => Val::Map(Map::Json(map, Some(&types.1))),
            (value, _) => Val::json(value),
        })
    }

    /// A value of JSON of which no type is known.
    pub fn json(value: &'a Value) -> Val<'a> {
        match value {
            Value::Null => Val::Null,
            Value::Bool(flag) => Val::Bool(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Val::Int(int),
                None => Val::Double(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => Val::Text(Text::Of(text)),
            Value::Array(items) => Val::List(List::Json(items, None)),
            Value::Object(map) => Val::Map(Map::Json(map, None)),
        }
    }

    /// An object of JSON; what is none is taken as it is.
    pub fn object(value: &'a Value, ty: &'a Type) -> Val<'a> {
        match (value, ty) {
            (Value::Object(map), Type::Object(object)) => Val::Map(Map::Object(map, object)),
            (value, _) => Val::json(value),
        }
    }

    /// A text that was made.
    pub(crate) fn text(text: impl Into<Arc<str>>, cost: &mut Cost) -> Result<Val<'a>, Exceeded> {
        let text = text.into();
        cost.make(text.len())?;
        Ok(Val::Text(Text::Owned(text)))
    }

    /// A text that has been paid for.
    pub(crate) fn made_text(text: impl Into<Arc<str>>) -> Val<'a> {
        Val::Text(Text::Owned(text.into()))
    }

    /// A list whose elements have been paid for.
    pub(crate) fn list(items: Vec<Val<'a>>) -> Val<'a> {
        Val::List(List::Owned(Arc::new(items)))
    }

    pub fn some(value: Val<'a>) -> Val<'a> {
        Val::Optional(Some(Arc::new(value)))
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Val::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The name of its type, as `type()` gives and errors tell it.
    pub fn type_name(&self) -> &'a str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::List(_) => "list",
            Val::Map(Map::Object(..)) => "object",
            Val::Map(Map::Struct(made)) => made.name,
            Val::Map(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::Type(_) => "type",
            Val::Other(other) => other.type_name(),
        }
    }

    /// What upstream's costs call the size of a value: of what has none, 1. Of texts in bytes, where upstream counts characters:
    /// counting them costs more than what the size stands for.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Val::Text(text) => text.as_str().len() as u64,
            Val::Bytes(bytes) => bytes.len() as u64,
            Val::List(list) => list.len() as u64,
            Val::Map(map) => map.len() as u64,
            Val::Optional(Some(value)) => value.size(),
            _ => 1,
        }
    }

    pub fn is_zero(&self) -> bool {
        match self {
            Val::Null => true,
            Val::Bool(flag) => !flag,
            Val::Int(number) => *number == 0,
            Val::Uint(number) => *number == 0,
            Val::Double(number) => *number == 0.0,
            Val::Text(text) => text.as_str().is_empty(),
            Val::Bytes(bytes) => bytes.is_empty(),
            Val::Duration(nanos) => *nanos == 0,
            Val::List(list) => list.is_empty(),
            Val::Map(map) => map.is_empty(),
            Val::Optional(value) => value.is_none(),
            Val::Timestamp(_) | Val::Type(_) | Val::Other(_) => false,
        }
    }
}

fn lift_text<'a>(text: &'a str, ty: &Type, cost: &mut Cost) -> Result<Val<'a>, Exceeded> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let lifted = match ty {
        Type::Bytes => {
            cost.make(text.len())?;
            let bytes = STANDARD.decode(text).ok();
            bytes.map(|bytes| Val::Bytes(bytes.into()))
        }
        Type::Duration => {
            cost.make(text.len())?;
            crate::times::parse_duration(text).map(Val::Duration)
        }
        Type::Timestamp => {
            cost.make(text.len())?;
            crate::times::parse_timestamp(text).map(Val::Timestamp)
        }
        _ => None,
    };
    Ok(lifted.unwrap_or(Val::Text(Text::Of(text))))
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            List::Json(items, _) => items.len(),
            List::Owned(items) => items.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, index: usize, cost: &mut Cost) -> Result<Option<Val<'a>>, Exceeded> {
        cost.steps(1)?;
        match self {
            List::Json(items, ty) => {
                let element = ty.map_or(&NO_TYPE, |list| &list.element);
                let item = items.get(index);
                item.map(|value| Val::lift(value, element, cost))
                    .transpose()
            }
            List::Owned(items) => Ok(items.get(index).cloned()),
        }
    }

    /// Its elements, as a list of their own.
    pub(crate) fn items(&self, cost: &mut Cost) -> Result<Vec<Val<'a>>, Exceeded> {
        self.part(0..self.len(), cost)
    }

    /// Some of its elements, as a list of their own.
    pub(crate) fn part(
        &self,
        range: std::ops::Range<usize>,
        cost: &mut Cost,
    ) -> Result<Vec<Val<'a>>, Exceeded> {
        cost.make_elements(range.len())?;
        let mut items = Vec::with_capacity(range.len());
        for index in range {
            items.extend(self.get(index, cost)?);
        }
        Ok(items)
    }

    fn kind(&self) -> Option<&'a ListKind> {
        match self {
            List::Json(_, ty) => ty.map(|list| &list.kind),
            List::Owned(_) => None,
        }
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Map::Object(map, _) | Map::Json(map, _) => map.len(),
            Map::Owned(entries) | Map::Sparse(entries) => entries.len(),
            Map::Struct(made) => made.fields.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field or a key.
    pub(crate) fn get(&self, key: &Val<'_>, cost: &mut Cost) -> Result<Option<Val<'a>>, Exceeded> {
        match (self, key) {
            (Map::Owned(entries), key) => {
                for (candidate, value) in entries.iter() {
                    if equal(candidate, key, cost)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
            (Map::Sparse(entries), Val::Text(_)) => {
                let made = Map::Owned(entries.clone()).get(key, cost)?;
                Ok(made.or_else(|| Some(Val::Map(Map::Owned(Arc::default())))))
            }
            (_, Val::Text(name)) => self.field(name.as_str(), cost),
            _ => Ok(None),
        }
    }

    /// The value of a field by the name that rules use.
    pub(crate) fn field(&self, name: &str, cost: &mut Cost) -> Result<Option<Val<'a>>, Exceeded> {
        cost.compare(name.len())?;
        match self {
            Map::Object(map, object) => {
                let Some(field) = object.fields.get(name) else {
                    return Ok(None);
                };
                let value = map.get(&*field.json);
                value
                    .map(|value| Val::lift(value, &field.ty, cost))
                    .transpose()
            }
            Map::Json(map, ty) => {
                let value = map.get(name);
                value
                    .map(|value| Val::lift(value, ty.unwrap_or(&NO_TYPE), cost))
                    .transpose()
            }
            Map::Struct(made) => {
                cost.steps(made.fields.len() as u64)?;
                let mut found = made.fields.iter().filter(|(field, _)| *field == name);
                Ok(found.next().map(|(_, value)| value.clone()))
            }
            Map::Owned(_) | Map::Sparse(_) => self.get(&Val::Text(Text::Of(name)), cost),
        }
    }

    /// Keys with their values, in the order of the keys.
    pub(crate) fn entries(&self, cost: &mut Cost) -> Result<Vec<(Val<'a>, Val<'a>)>, Exceeded> {
        cost.make_elements(self.len())?;
        let mut entries = Vec::with_capacity(self.len());
        match self {
            Map::Object(map, object) => {
                // Those that are declared: there may be many more of them.
                cost.steps((object.fields.len() as u64).saturating_mul(4))?;
                for (name, field) in &object.fields {
                    if let Some(value) = map.get(&*field.json) {
                        let value = Val::lift(value, &field.ty, cost)?;
                        entries.push((Val::Text(Text::Of(name)), value));
                    }
                }
            }
            Map::Json(map, ty) => {
                for (key, value) in *map {
                    let value = Val::lift(value, ty.unwrap_or(&NO_TYPE), cost)?;
                    entries.push((Val::Text(Text::Of(key)), value));
                }
            }
            Map::Owned(made) | Map::Sparse(made) => entries.extend(made.iter().cloned()),
            Map::Struct(made) => {
                let fields = made.fields.iter();
                entries
                    .extend(fields.map(|(name, value)| (Val::Text(Text::Of(name)), value.clone())));
            }
        }
        Ok(entries)
    }
}
