//! Definitions of kinds that were declared at run time, in the two dialects.

use std::{collections::BTreeMap, sync::Arc};

use knarr_meta::object::{bool_at, list_at, str_at};
use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use crate::{Kind, apiextensions::custom_resource::model_name};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
     recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the \
     endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The kinds that the table of types does not have, by the names of their definitions.
#[derive(Default)]
pub(super) struct Custom {
    all: BTreeMap<Arc<str>, Entry>,
}

/// A kind, or its lists.
struct Entry {
    gvk: (String, String, String),
    content: Content,
}

enum Content {
    Object {
        props: Value,
        /// `spec.preserveUnknownFields`.
        preserves: bool,
        /// Definition of its lists.
        list: Arc<str>,
        selectable: Vec<String>,
    },
    List {
        /// Definition of its items, and how they are called.
        of: Arc<str>,
        kind: String,
        plural: String,
    },
}

impl Custom {
    pub(super) fn new<'k>(kinds: impl Iterator<Item = &'k Kind>) -> Custom {
        let mut all = BTreeMap::new();
        for kind in kinds {
            let Some((props, preserves)) = kind.strategy.published() else {
                continue;
            };
            let name: Arc<str> = Arc::from(&*kind.definition);
            let list_kind = kind.list_kind();
            let list: Arc<str> = model_name(&kind.group, &kind.version, &list_kind).into();
            let gvk = |name: &str| {
                (
                    kind.group.to_string(),
                    kind.version.to_string(),
                    name.to_owned(),
                )
            };
            let selectable = kind.strategy.selectable_fields().iter();
            let object = Content::Object {
                props,
                preserves,
                list: list.clone(),
                selectable: selectable.map(ToString::to_string).collect(),
            };
            let lists = Content::List {
                of: name.clone(),
                kind: kind.kind.to_string(),
                plural: kind.resource.to_string(),
            };
            all.insert(
                name,
                Entry {
                    gvk: gvk(&kind.kind),
                    content: object,
                },
            );
            all.insert(
                list,
                Entry {
                    gvk: gvk(&list_kind),
                    content: lists,
                },
            );
        }
        Custom { all }
    }

    /// The name, where a kind or a list of its has it.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<str>> {
        self.all.get_key_value(name).map(|(name, _)| name)
    }

    /// The definition of lists of a kind.
    pub(super) fn list_of(&self, name: &str) -> Option<&str> {
        match &self.all.get(name)?.content {
            Content::Object { list, .. } => Some(list),
            Content::List { .. } => None,
        }
    }

    /// What else a definition refers to.
    pub(super) fn reaches(&self, name: &str) -> &'static [&'static str] {
        match self.all.get(name).map(|entry| &entry.content) {
            Some(Content::Object { .. }) => &[OBJECT_META],
            Some(Content::List { .. }) => &[LIST_META],
            None => &[],
        }
    }

    pub(super) fn render(&self, name: &str, dialect: Dialect) -> Option<Value> {
        let entry = self.all.get(name)?;
        let mut out = match &entry.content {
            Content::Object {
                props, preserves, ..
            } => object(props, *preserves, dialect),
            Content::List { of, kind, plural } => list(of, &entry.gvk.2, kind, plural, dialect),
        };
        let (group, version, kind) = &entry.gvk;
        out["x-kubernetes-group-version-kind"] =
            json!([{"group": group, "version": version, "kind": kind}]);
        if let Content::Object { selectable, .. } = &entry.content
            && !selectable.is_empty()
            && dialect == Dialect::V3
        {
            let fields = selectable.iter().map(|path| json!({"fieldPath": path}));
            out["x-kubernetes-selectable-fields"] = fields.collect();
        }
        Some(out)
    }
}

/// A reference with a description beside it, which OpenAPI 3.0 does not allow in one object.
fn described(name: &str, description: &str, dialect: Dialect) -> Value {
    let mut reference = dialect.reference(name);
    match dialect {
        Dialect::V2 => {
            reference["description"] = description.into();
            reference
        }
        Dialect::V3 => json!({"description": description, "allOf": [reference]}),
    }
}

fn add_type(properties: &mut Map<String, Value>) {
    for (field, description) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let value = json!({"type": "string", "description": description});
        properties.insert(field.to_owned(), value);
    }
}

fn list(of: &str, list_kind: &str, kind: &str, plural: &str, dialect: Dialect) -> Value {
    let description = format!(
        "List of {plural}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
    );
    let mut properties = Map::new();
    add_type(&mut properties);
    properties.insert(
        "items".to_owned(),
        json!({"type": "array", "description": description, "items": dialect.reference(of)}),
    );
    properties.insert(
        "metadata".to_owned(),
        described(LIST_META, LIST_METADATA, dialect),
    );
    json!({
        "type": "object",
        "description": format!("{list_kind} is a list of {kind}"),
        "required": ["items"],
        "properties": properties,
    })
}

/// kubectl takes properties for all there are: an object of which not all is known has none in OpenAPI v2.
fn object(props: &Value, preserves: bool, dialect: Dialect) -> Value {
    let keeps = preserves || bool_at(props, &["x-kubernetes-preserve-unknown-fields"]);
    if !props.is_object() || (keeps && dialect == Dialect::V2) {
        return json!({"type": "object"});
    }
    let mut out = schema(props, dialect);
    if let Some(map) = out.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            add_type(properties);
            properties.insert(
                "metadata".to_owned(),
                described(OBJECT_META, METADATA, dialect),
            );
        }
    }
    out
}

/// A schema in a dialect. v2 has no alternatives, and no nulls.
fn schema(props: &Value, dialect: Dialect) -> Value {
    let Some(map) = props.as_object() else {
        return props.clone();
    };
    let nullable = bool_at(props, &["nullable"]);
    let keeps = bool_at(props, &["x-kubernetes-preserve-unknown-fields"]);
    let bare = dialect == Dialect::V2 && (nullable || keeps);
    let mut out = Map::new();
    for (field, value) in map {
        let value = match field.as_str() {
            "allOf" | "anyOf" | "oneOf" | "not" | "nullable" if dialect == Dialect::V2 => continue,
            "items" | "properties" if bare => continue,
            "items" => schema(value, dialect),
            "additionalProperties" if value.is_object() => schema(value, dialect),
            "properties" => match value.as_object() {
                Some(all) => all
                    .iter()
                    .map(|(name, value)| (name.clone(), schema(value, dialect)))
                    .collect(),
                None => continue,
            },
            _ => value.clone(),
        };
        out.insert(field.clone(), value);
    }
    untype(&mut out, props, bare, dialect);
    if bool_at(props, &["x-kubernetes-embedded-resource"]) && !(keeps && dialect == Dialect::V2) {
        embed(&mut out, dialect);
    }
    out.into()
}

fn untype(out: &mut Map<String, Value>, props: &Value, bare: bool, dialect: Dialect) {
    if dialect == Dialect::V3 {
        let any_of = list_at(props, &["anyOf"]);
        if bool_at(props, &["x-kubernetes-int-or-string"])
            && any_of.is_empty()
            && list_at(props, &["allOf"]).is_empty()
        {
            out.insert(
                "anyOf".to_owned(),
                json!([{"type": "integer"}, {"type": "string"}]),
            );
        }
        return;
    }
    let ty = str_at(props, &["type"]);
    if bare && (bool_at(props, &["nullable"]) || matches!(ty, "object" | "array")) {
        out.remove("type");
    }
    // A field that may be null need not be there, as far as v2 can say.
    if let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
        let may_be_null = |name: &Value| {
            let name = name.as_str().unwrap_or_default();
            bool_at(props, &["properties", name, "nullable"])
        };
        required.retain(|name| !may_be_null(name));
        if required.is_empty() {
            out.remove("required");
        }
    }
}

fn embed(out: &mut Map<String, Value>, dialect: Dialect) {
    let properties = out.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        add_type(properties);
        properties.insert(
            "metadata".to_owned(),
            described(OBJECT_META, METADATA, dialect),
        );
    }
    let required = out.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        for field in ["kind", "apiVersion"] {
            if !required.iter().any(|name| name == field) {
                required.push(field.into());
            }
        }
    }
}
