//! The types of the API, as upstream publishes them: fields, formats, merge keys, list and map types.
//!
//! The facts are one generated text (`data/schema.txt.gz`, by `cargo xtask generate-schema`). It is inflated at the first
//! question, its names are borrowed from it ever after, and a definition is decoded when somebody first asks for it: a
//! server pays for the types it serves. Rust source generated from the facts was rejected: thousands of relocated statics
//! would be touched at every start, and compiled at every change.
//!
//! The field numbers of protobuf, which no definition carries, are a table beside their only reader in the API server
//! (`cargo xtask generate-protobuf`); both are made of one release.
//!
//! Who asks: [`parse`] and [`strict`] read request bodies, `knarr_meta::patch` and `knarr_apply` merge by it, [`crate::openapi`]
//! publishes it.

use std::{cmp::Ordering, sync::OnceLock};

use knarr_meta::patch::{PatchSchema, Strategy};
use serde_json::{Value, json};

mod apply;
pub mod disabled;
pub mod empty;
pub mod enums;
pub mod expressions;
pub mod parse;
mod path;
pub mod strict;
mod table;
#[cfg(test)]
mod tests;
pub mod written;

/// A type where it is used: the type of a field, of list elements, of a map's values, or of a whole object.
#[derive(Debug)]
pub struct Schema {
    pub ty: Type,
    marks: Option<Box<Marks>>,
}

/// What JSON values a schema takes.
#[derive(Debug)]
pub enum Type {
    String,
    /// Base64 in a string.
    Bytes,
    Int32,
    Int64,
    Double,
    Bool,
    List(Box<Schema>),
    /// Any keys, values of one type.
    Map(Box<Schema>),
    Ref(DefinitionRef),
}

/// A reference to a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefinitionRef(u16);

impl DefinitionRef {
    /// The definition, decoded now if it is the first time.
    pub fn get(self) -> &'static Definition {
        table::get(self)
    }
}

/// A named type.
#[derive(Debug)]
pub struct Definition {
    /// As `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    pub shape: Shape,
    /// Group, version and kind, where objects of this type carry them. More than one for types that every group shares.
    pub gvks: &'static [(&'static str, &'static str, &'static str)],
    /// The discriminators of its unions, as JSON: the value of `x-kubernetes-unions`.
    pub unions: Option<&'static str>,
    schema: Schema,
    description: Option<u16>,
    /// Where features that are switched off have fields, once somebody asked for it.
    disabled: OnceLock<disabled::Fields>,
    /// The places of the fields that are always there, once somebody asked for it.
    written: OnceLock<Box<[u16]>>,
    /// An object in which nobody has set anything, once somebody asked for it.
    empty: OnceLock<Value>,
}

/// What a definition looks like on the wire.
#[derive(Debug)]
pub enum Shape {
    /// An object with these fields, sorted by name.
    Struct(Box<[Field]>),
    /// RFC 3339 in UTC, whole seconds.
    Time,
    /// RFC 3339 in UTC, six digits after the point.
    MicroTime,
    Quantity,
    IntOrString,
    /// An object of unknown type, kept as it is.
    AnyObject,
    /// Any JSON value, kept as it is.
    Any,
}

/// A field of a definition.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// See [`table::head`].
    head: u64,
    pub schema: Schema,
    pub required: bool,
    /// Whether upstream's objects always have it, empty or zero where nobody set it: its Go type is no pointer.
    present: bool,
    /// Whether upstream's objects do not have it where it is false, 0 or empty: its Go type is no pointer, and has `omitempty`.
    omits_zero: bool,
    /// Whether upstream's objects have null where it is nothing: a list, a map, a time or a pointer that is not left out.
    written_null: bool,
    description: Option<u16>,
}

/// How a list is merged by server-side apply: `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

/// How an object is merged by server-side apply: `x-kubernetes-map-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    Atomic,
    Granular,
}

/// The marks of a schema; most have none.
#[derive(Debug, Default)]
struct Marks {
    strategies: &'static [Strategy],
    merge_key: Option<&'static str>,
    list_type: Option<ListType>,
    list_map_keys: Box<[&'static str]>,
    map_type: Option<MapType>,
    default: Option<&'static str>,
    /// The same, once somebody asked for it.
    default_value: OnceLock<Value>,
    /// `enum`, of the field or of its elements.
    values: Box<[&'static str]>,
    /// The feature gate that a field is behind, where that is switched off.
    gate: Option<&'static str>,
    /// The type as Go names it, where it has a name of its own in it that stands for no struct: `[]v1.KeyUsage`.
    go_type: Option<&'static str>,
    /// The embedded structs that a field is in, joined by dots.
    embedded: &'static str,
}

/// The schema of a definition, as `io.k8s.api.core.v1.Pod`.
pub fn definition(name: &str) -> Option<&'static Schema> {
    table::find(name).map(|reference| &reference.get().schema)
}

impl Schema {
    /// The definition this schema refers to.
    pub fn definition(&self) -> Option<&'static Definition> {
        match self.ty {
            Type::Ref(reference) => Some(reference.get()),
            _ => None,
        }
    }

    /// `x-kubernetes-list-type`.
    pub fn list_type(&self) -> Option<ListType> {
        self.marks.as_ref()?.list_type
    }

    /// `x-kubernetes-list-map-keys`; empty but for lists of type map.
    pub fn list_map_keys(&self) -> &[&'static str] {
        self.marks
            .as_ref()
            .map_or(&[], |marks| &marks.list_map_keys)
    }

    /// `x-kubernetes-map-type`, of this use or of the definition.
    pub fn map_type(&self) -> Option<MapType> {
        match self.marks.as_ref().and_then(|marks| marks.map_type) {
            None => self.definition()?.schema.marks.as_ref()?.map_type,
            own => own,
        }
    }

    /// The values that it may have, or its elements where it is a list; empty where any will do.
    pub fn values(&self) -> &[&'static str] {
        self.marks.as_ref().map_or(&[], |marks| &marks.values)
    }

    /// The feature gate that the field is behind, where that is switched off: see [`disabled`].
    pub fn gate(&self) -> Option<&'static str> {
        self.marks.as_ref()?.gate
    }

    /// `x-kubernetes-map-type` of this use alone.
    pub(crate) fn own_map_type(&self) -> Option<MapType> {
        self.marks.as_ref()?.map_type
    }

    /// The default that is part of the API's type (not of defaulting code), as JSON.
    pub fn default_json(&self) -> Option<&'static str> {
        self.marks.as_ref()?.default
    }
}

impl Field {
    /// See [`Marks::embedded`].
    fn embedded(&self) -> &'static str {
        let marks = self.schema.marks.as_ref();
        marks.map_or("", |marks| marks.embedded)
    }

    /// See [`Marks::go_type`].
    fn go_type(&self) -> Option<&'static str> {
        self.schema.marks.as_ref()?.go_type
    }

    /// Whether absence is something else than zero: its Go type is a pointer.
    fn is_pointer(&self) -> bool {
        !self.omits_zero && !self.present
    }

    /// What it is where nobody set it: a default that is part of its type, or the zero of a field that is never absent.
    pub(crate) fn default(&self) -> Option<Value> {
        if let Some(json) = self.schema.default_json() {
            return serde_json::from_str(json).ok();
        }
        match &self.schema.ty {
            _ if !self.present => None,
            Type::String | Type::Bytes => Some("".into()),
            Type::Int32 | Type::Int64 | Type::Double => Some(0.into()),
            Type::Bool => Some(false.into()),
            Type::Ref(reference) => match reference.get().shape {
                Shape::Struct(_) => Some(json!({})),
                _ => None,
            },
            Type::List(_) | Type::Map(_) => None,
        }
    }
}

impl Definition {
    /// The field of this name; `None` too for definitions that are no struct.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let fields = self.fields();
        // Most names differ in what one comparison of numbers sees.
        let head = table::head(name);
        fields
            .binary_search_by(|field| match field.head.cmp(&head) {
                Ordering::Equal => field.name.cmp(name),
                other => other,
            })
            .ok()
            .map(|place| &fields[place])
    }

    /// All fields, sorted by name.
    pub fn fields(&self) -> &[Field] {
        match &self.shape {
            Shape::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// The type's own name: `PodSpec`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The use of this definition that has no marks but its own.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of the description in [`descriptions`].
    pub(crate) fn description(&self) -> Option<u16> {
        self.description
    }
}

impl Field {
    /// Number of the description in [`descriptions`].
    pub(crate) fn description(&self) -> Option<u16> {
        self.description
    }
}

impl PatchSchema for Schema {
    fn field(&self, name: &str) -> Option<&dyn PatchSchema> {
        match &self.ty {
            Type::Map(element) => Some(&**element),
            Type::Ref(reference) => reference
                .get()
                .field(name)
                .map(|field| &field.schema as &dyn PatchSchema),
            _ => None,
        }
    }

    fn element(&self) -> Option<&dyn PatchSchema> {
        match &self.ty {
            Type::List(element) => Some(&**element),
            _ => None,
        }
    }

    fn merge_key(&self) -> Option<&str> {
        self.marks.as_ref()?.merge_key
    }

    fn strategies(&self) -> &[Strategy] {
        self.marks.as_ref().map_or(&[], |marks| marks.strategies)
    }
}

/// The documentation of all types, inflated: half a megabyte that the caller drops when it is done.
pub(crate) fn descriptions() -> Descriptions {
    Descriptions::inflate()
}

pub(crate) use table::Descriptions;

/// The definition whose objects carry this group, version and kind, and no other.
pub fn definition_of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Definition> {
    table::find_kind(group, version, kind).map(DefinitionRef::get)
}

/// Every definition's name, in order.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    table::names()
}
