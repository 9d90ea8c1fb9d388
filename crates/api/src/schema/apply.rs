//! The types as server-side apply merges by them: upstream's conversion of its OpenAPI v3 documents.

use std::sync::LazyLock;

use knarr_apply::{
    Deduced, Opaque,
    schema::{self as apply, Atom, Scalar},
};
use knarr_meta::patch::Strategy;
use serde_json::{Map, Value};

use super::{Definition, Field, ListType, MapType, Schema, Shape, Type};

static NULL: Value = Value::Null;
static EMPTY_TEXT: Value = Value::String(String::new());
static FALSE: Value = Value::Bool(false);
static ZERO: LazyLock<Value> = LazyLock::new(|| Value::from(0));
static EMPTY_OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

/// What the values of a named type are.
enum Named {
    /// Its declared fields, and no others.
    Struct,
    /// Any fields.
    Fields,
    Scalar,
    /// Anything, merged field by field where it is an object.
    Anything,
    /// Anything, and one value whatever it is.
    Whole,
}

impl Definition {
    fn named(&self) -> Named {
        match &self.shape {
            Shape::Struct(fields) if fields.is_empty() => Named::Fields,
            Shape::Struct(_) => Named::Struct,
            Shape::Time | Shape::MicroTime | Shape::Quantity => Named::Scalar,
            Shape::AnyObject if self.short_name() == "RawExtension" => Named::Whole,
            Shape::AnyObject => Named::Fields,
            Shape::IntOrString | Shape::Any => Named::Anything,
        }
    }
}

impl Schema {
    fn apply_list_type(&self) -> apply::ListType {
        match self.list_type() {
            Some(ListType::Atomic) => apply::ListType::Atomic,
            Some(ListType::Set) => apply::ListType::Set,
            Some(ListType::Map) => apply::ListType::Map,
            // What only says how it is patched is merged in the same way.
            None => match self.marks.as_ref() {
                Some(marks) if marks.strategies.contains(&Strategy::Merge) => {
                    match marks.merge_key {
                        Some(_) => apply::ListType::Map,
                        None => apply::ListType::Set,
                    }
                }
                _ => apply::ListType::Atomic,
            },
        }
    }

    fn apply_map_type(&self) -> apply::MapType {
        match self.map_type() {
            Some(MapType::Atomic) => apply::MapType::Atomic,
            Some(MapType::Granular) | None => apply::MapType::Granular,
        }
    }
}

impl apply::Schema for Schema {
    fn atom(&self) -> Atom {
        let scalar = |scalar| Atom {
            scalar: Some(scalar),
            ..Atom::default()
        };
        let map = || Atom {
            map: Some(self.apply_map_type()),
            ..Atom::default()
        };
        match &self.ty {
            Type::String | Type::Bytes => scalar(Scalar::String),
            Type::Int32 | Type::Int64 | Type::Double => scalar(Scalar::Numeric),
            Type::Bool => scalar(Scalar::Boolean),
            Type::List(_) => Atom {
                list: Some(self.apply_list_type()),
                ..Atom::default()
            },
            Type::Map(_) => map(),
            Type::Ref(reference) => match reference.get().named() {
                Named::Struct | Named::Fields => map(),
                Named::Scalar => scalar(Scalar::Untyped),
                Named::Anything => Deduced.atom(),
                Named::Whole => Opaque.atom(),
            },
        }
    }

    fn element(&self) -> &dyn apply::Schema {
        match &self.ty {
            Type::List(element) => &**element,
            _ => &Opaque,
        }
    }

    fn key(&self, index: usize) -> Option<&str> {
        match self.list_map_keys() {
            [] if index == 0 => self.marks.as_ref()?.merge_key,
            keys => keys.get(index).copied(),
        }
    }

    fn field(&self, name: &str) -> Option<apply::Field<'_>> {
        let Type::Ref(reference) = self.ty else {
            return None;
        };
        let field = reference.get().field(name)?;
        Some(apply::Field {
            schema: &field.schema,
            default: field.key_default(),
            absent: field.absent(),
        })
    }

    fn undeclared(&self) -> Option<&dyn apply::Schema> {
        match &self.ty {
            Type::Map(values) => Some(&**values),
            Type::Ref(reference) => match reference.get().named() {
                Named::Struct | Named::Scalar => None,
                Named::Fields | Named::Anything => Some(&Deduced),
                Named::Whole => Some(&Opaque),
            },
            _ => None,
        }
    }

    fn is_deduced(&self) -> bool {
        match &self.ty {
            Type::Ref(reference) => {
                matches!(reference.get().named(), Named::Fields | Named::Anything)
            }
            _ => false,
        }
    }
}

impl Field {
    /// What the field is in a key where it is absent.
    fn key_default(&self) -> Option<&Value> {
        if let Some(marks) = self.schema.marks.as_ref()
            && let Some(json) = marks.default
        {
            let parse = || serde_json::from_str(json).unwrap_or_default();
            return Some(marks.default_value.get_or_init(parse));
        }
        match self.schema.ty {
            _ if !self.present => None,
            Type::String | Type::Bytes => Some(&EMPTY_TEXT),
            Type::Int32 | Type::Int64 | Type::Double => Some(&ZERO),
            Type::Bool => Some(&FALSE),
            _ => None,
        }
    }

    /// What the field is in upstream's objects where it is absent here.
    fn absent(&self) -> Option<&Value> {
        match &self.schema.ty {
            _ if !self.present => None,
            Type::List(_) | Type::Map(_) => Some(&NULL),
            Type::Ref(reference) => match reference.get().shape {
                Shape::Struct(_) => Some(&EMPTY_OBJECT),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
