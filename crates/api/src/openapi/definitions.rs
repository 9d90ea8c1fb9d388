//! The definitions of types, in the two dialects.

use std::{collections::BTreeSet, sync::Arc};

use knarr_meta::patch::{PatchSchema, Strategy};
use serde_json::{Map, Value, json};

use super::{custom::Custom, dialect::Dialect};
use crate::schema::{self, Definition, Field, ListType, MapType, Schema, Shape, Type};

/// Group and version of types that every group has.
const CORE: (&str, &str) = ("", "v1");

/// All definitions that these reach, themselves too.
pub(super) fn closure<'k>(
    roots: impl Iterator<Item = &'k str>,
    custom: &Custom,
) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    let mut open: Vec<&'static Definition> = Vec::new();
    for root in roots {
        match custom.find(root) {
            Some(name) if names.insert(name.clone()) => {
                let reached = custom.reaches(root).iter();
                open.extend(reached.filter_map(|name| schema::definition(name)?.definition()));
            }
            Some(_) => {}
            None => open.extend(schema::definition(root).and_then(Schema::definition)),
        }
    }
    while let Some(definition) = open.pop() {
        if names.insert(definition.name.into()) {
            open.extend(
                definition
                    .fields()
                    .iter()
                    .filter_map(|field| innermost(&field.schema).definition()),
            );
        }
    }
    names
}

/// What a list or a map holds, lists of lists included.
fn innermost(schema: &Schema) -> &Schema {
    match &schema.ty {
        Type::List(element) | Type::Map(element) => innermost(element),
        _ => schema,
    }
}

/// Renders definitions; holds the texts while it lives.
pub(super) struct Definitions {
    descriptions: schema::Descriptions,
    pub(super) custom: Custom,
}

impl Definitions {
    pub(super) fn new(custom: Custom) -> Self {
        Definitions {
            descriptions: schema::descriptions(),
            custom,
        }
    }

    /// A definition in the v3 document of a group-version: of the group-versions that a type of all groups is in, it names that one
    /// and the core's.
    pub(super) fn render_in(&self, name: &str, place: (&str, &str)) -> Value {
        let mut out = self.render(name, Dialect::V3);
        let gvks = out
            .get_mut("x-kubernetes-group-version-kind")
            .and_then(Value::as_array_mut);
        if let Some(gvks) = gvks.filter(|gvks| gvks.len() > 1) {
            let is = |gvk: &Value, of: (&str, &str)| gvk["group"] == of.0 && gvk["version"] == of.1;
            gvks.retain(|gvk| is(gvk, CORE) || is(gvk, place));
        }
        out
    }

    /// A definition by its name; an empty object for one that does not exist.
    pub(super) fn render(&self, name: &str, dialect: Dialect) -> Value {
        if let Some(custom) = self.custom.render(name, dialect) {
            return custom;
        }
        let Some(definition) = schema::definition(name).and_then(Schema::definition) else {
            return json!({});
        };
        let mut out = shape(definition, dialect);
        self.describe(&mut out, definition.description());
        if let Shape::Struct(fields) = &definition.shape
            && !fields.is_empty()
        {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| (field.name.to_owned(), self.field(field, dialect)))
                .collect();
            out.insert("properties".to_owned(), properties.into());
            let required: Vec<&str> = fields
                .iter()
                .filter(|field| field.required)
                .map(|field| field.name)
                .collect();
            if !required.is_empty() {
                out.insert("required".to_owned(), required.into());
            }
        }
        mark(&mut out, definition.schema());
        if !definition.gvks.is_empty() {
            let gvks: Vec<Value> = definition
                .gvks
                .iter()
                .map(|gvk| super::operations::gvk(*gvk))
                .collect();
            out.insert("x-kubernetes-group-version-kind".to_owned(), gvks.into());
        }
        if let Some(unions) = definition
            .unions
            .and_then(|json| serde_json::from_str(json).ok())
        {
            out.insert("x-kubernetes-unions".to_owned(), unions);
        }
        out.into()
    }

    fn field(&self, field: &Field, dialect: Dialect) -> Value {
        let mut out = Map::new();
        self.describe(&mut out, field.description());
        mark(&mut out, &field.schema);
        // Upstream takes them out of v2.
        if dialect == Dialect::V3
            && let Some(default) = field.default()
        {
            out.insert("default".to_owned(), default);
        }
        let Value::Object(ty) = ty(&field.schema.ty, dialect) else {
            return out.into();
        };
        // In OpenAPI 3.0 nothing may stand beside a reference.
        if dialect == Dialect::V3 && ty.contains_key("$ref") && !out.is_empty() {
            out.insert("allOf".to_owned(), json!([ty]));
        } else {
            out.extend(ty);
        }
        let values = field.schema.values();
        if !values.is_empty() {
            let elements = match field.schema.ty {
                Type::List(_) => out.get_mut("items"),
                Type::Map(_) => out.get_mut("additionalProperties"),
                _ => None,
            };
            let of = match elements.and_then(Value::as_object_mut) {
                Some(elements) => elements,
                None => &mut out,
            };
            of.insert("enum".to_owned(), values.into());
        }
        out.into()
    }

    fn describe(&self, out: &mut Map<String, Value>, number: Option<u16>) {
        if let Some(text) = number.and_then(|number| self.descriptions.get(number)) {
            out.insert("description".to_owned(), text.into());
        }
    }
}

fn shape(definition: &Definition, dialect: Dialect) -> Map<String, Value> {
    let value = match (&definition.shape, dialect) {
        (Shape::Struct(_) | Shape::AnyObject, _) => json!({"type": "object"}),
        (Shape::Time | Shape::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (Shape::Quantity, Dialect::V2) => json!({"type": "string"}),
        (Shape::Quantity, Dialect::V3) => {
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
        }
        (Shape::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (Shape::IntOrString, Dialect::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (Shape::Any, _) => json!({}),
    };
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn ty(of: &Type, dialect: Dialect) -> Value {
    match of {
        Type::String => json!({"type": "string"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Double => json!({"type": "number", "format": "double"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::List(element) => json!({"type": "array", "items": ty(&element.ty, dialect)}),
        Type::Map(element) => {
            json!({"type": "object", "additionalProperties": ty(&element.ty, dialect)})
        }
        Type::Ref(reference) => dialect.reference(reference.get().name),
    }
}

fn mark(out: &mut Map<String, Value>, schema: &Schema) {
    let mut add = |name: &str, value: Value| out.insert(name.to_owned(), value);
    if let Some(list_type) = schema.list_type() {
        let name = match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        add("x-kubernetes-list-type", name.into());
    }
    if !schema.list_map_keys().is_empty() {
        add("x-kubernetes-list-map-keys", schema.list_map_keys().into());
    }
    if let Some(map_type) = schema.own_map_type() {
        let name = match map_type {
            MapType::Atomic => "atomic",
            MapType::Granular => "granular",
        };
        add("x-kubernetes-map-type", name.into());
    }
    if let Some(key) = schema.merge_key() {
        add("x-kubernetes-patch-merge-key", key.into());
    }
    let strategies: Vec<&str> = schema
        .strategies()
        .iter()
        .map(|strategy| match strategy {
            Strategy::Merge => "merge",
            Strategy::Replace => "replace",
            Strategy::RetainKeys => "retainKeys",
        })
        .collect();
    if !strategies.is_empty() {
        add("x-kubernetes-patch-strategy", strategies.join(",").into());
    }
}
