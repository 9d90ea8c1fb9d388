//! Kinds that are made of a definition.
//!
//! Each version is a [`Kind`] of its own, with its own schema, columns and subresources; they share the place in the store. A
//! request lives in the version that its client uses; the objects are stored in one of them ([`Kind::stored`]).

use std::{
    borrow::Cow,
    cmp::Reverse,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use knarr_meta::{
    object::{bool_at, list_at, str_at, struct_at},
    status::Status,
    types::version_rank,
};
use knarr_schema::{Schema, Unsupported};
use serde_json::Value;

use super::custom_resource_definition::{storage_version, versions};
pub use crate::conversion::Conversion;
use crate::{
    Kind,
    kind::{Behaviour, GET_PATCH_UPDATE, Scope, Subresource, Text, Verb},
};

mod apply;
mod columns;
mod scale;
mod strategy;
#[cfg(test)]
mod tests;

use columns::Columns;
use scale::Scale;
use strategy::CustomResource;

/// The kinds of a definition.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// The version whose form is stored.
    pub stored: Arc<Kind>,
    /// Those that are served; the stored one may be missing.
    pub served: Vec<Arc<Kind>>,
}

/// Why no kinds can be made of a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no version is stored")]
    NothingStored,
    #[error("the schema of version {version} cannot be used: {why}")]
    Schema { version: String, why: Unsupported },
}

/// Makes the kinds of a definition whose names were accepted. `source` is its JSON, from which OpenAPI is made when somebody asks.
pub fn kinds(definition: &Value, source: &Bytes) -> Result<Kinds, Error> {
    let storage = storage_version(definition);
    let mut stored = None;
    let mut served = Vec::new();
    for version in versions(definition) {
        let is_stored = str_at(version, &["name"]) == storage;
        if !is_stored && !bool_at(version, &["served"]) {
            continue;
        }
        let kind = Arc::new(kind(definition, version, source)?);
        if is_stored {
            stored = Some(kind.clone());
        }
        if bool_at(version, &["served"]) {
            served.push(kind);
        }
    }
    Ok(Kinds {
        stored: stored.ok_or(Error::NothingStored)?,
        served,
    })
}

/// The name of a definition in OpenAPI: `com.example.v1.Widget`.
pub fn model_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.extend([version, kind]);
    parts.join(".")
}

fn kind(definition: &Value, version: &Value, source: &Bytes) -> Result<Kind, Error> {
    let name = str_at(version, &["name"]);
    let text = |path: &[&str]| Text::from(str_at(definition, path).to_owned());
    let accepted = |field: &str| text(&["status", "acceptedNames", field]);
    let words = |field: &str| {
        let list = list_at(definition, &["status", "acceptedNames", field]).iter();
        let words = list.filter_map(Value::as_str);
        words.map(|word| Text::from(word.to_owned())).collect()
    };
    let group = str_at(definition, &["spec", "group"]);
    let plural = accepted("plural");
    let storage = storage_version(definition);
    let strategy = strategy(definition, version, source)?;
    Ok(Kind {
        group: group.to_owned().into(),
        version: name.to_owned().into(),
        kind: accepted("kind"),
        list_kind: Some(accepted("listKind")),
        singular: accepted("singular"),
        short_names: words("shortNames"),
        categories: words("categories"),
        scope: match str_at(definition, &["spec", "scope"]) {
            "Namespaced" => Scope::Namespaced,
            _ => Scope::Cluster,
        },
        verbs: Verb::ALL,
        subresources: Cow::Owned(subresources(version)),
        storage: Some(format!("/registry/{group}/{plural}").into()),
        stored: (storage != name).then(|| storage.to_owned().into()),
        resource: plural,
        definition: model_name(group, name, &accepted("kind")).into(),
        strategy: Behaviour::Made(Arc::new(strategy)),
        aliases: Cow::Borrowed(&[]),
    })
}

fn subresources(version: &Value) -> Vec<Subresource> {
    let mut all = Vec::new();
    if struct_at(version, &["subresources", "status"]).is_some() {
        all.push(Subresource {
            name: "status",
            kind: None,
            verbs: GET_PATCH_UPDATE,
            changes: &[&["metadata", "managedFields"], &["status"]],
        });
    }
    if struct_at(version, &["subresources", "scale"]).is_some() {
        all.push(Subresource {
            name: "scale",
            kind: Some(("autoscaling", "v1", "Scale")),
            verbs: GET_PATCH_UPDATE,
            // The replicas are where the definition says, which is below `spec`.
            changes: &[&["metadata", "managedFields"], &["spec"]],
        });
    }
    all
}

fn strategy(definition: &Value, version: &Value, source: &Bytes) -> Result<CustomResource, Error> {
    let name = str_at(version, &["name"]);
    let schema = match struct_at(version, &["schema", "openAPIV3Schema"]) {
        Some(props) => Schema::parse(props).map_err(|why| Error::Schema {
            version: name.to_owned(),
            why,
        })?,
        // Without a schema nothing is known, and so nothing is pruned.
        None => Schema::anything(),
    };
    let selectable = list_at(version, &["selectableFields"]).iter();
    let selectable: Vec<&str> = selectable
        .map(|field| str_at(field, &["jsonPath"]))
        .collect();
    let deprecation =
        bool_at(version, &["deprecated"]).then(|| match str_at(version, &["deprecationWarning"]) {
            "" => deprecation(definition, name),
            own => own.to_owned(),
        });
    let group = str_at(definition, &["spec", "group"]);
    let all = versions(definition).iter();
    let all = all.map(|version| format!("{group}/{}", str_at(version, &["name"])));
    Ok(CustomResource {
        has_status: struct_at(version, &["subresources", "status"]).is_some(),
        preserves: bool_at(definition, &["spec", "preserveUnknownFields"]),
        root: schema.as_root(),
        rules: OnceLock::new(),
        scale: struct_at(version, &["subresources", "scale"]).map(Scale::new),
        columns: Columns::new(list_at(version, &["additionalPrinterColumns"])),
        selectable: selectable
            .iter()
            .map(|path| path.trim_start_matches('.').to_owned().into())
            .collect(),
        deprecation,
        version: name.to_owned(),
        api_version: format!("{group}/{name}"),
        versions: all.collect(),
        conversion: Conversion::new(definition),
        source: source.clone(),
    })
}

/// What clients of a deprecated version without a warning of its own are told: to use the newest that is later, if there is one.
fn deprecation(definition: &Value, version: &str) -> String {
    let group = str_at(definition, &["spec", "group"]);
    let kind = str_at(definition, &["spec", "names", "kind"]);
    fn rank(name: &str) -> (Option<(u8, u32, u32)>, Reverse<&str>) {
        (version_rank(name), Reverse(name))
    }
    let better = versions(definition)
        .iter()
        .filter(|other| bool_at(other, &["served"]) && !bool_at(other, &["deprecated"]))
        .map(|other| str_at(other, &["name"]))
        .filter(|other| rank(other) > rank(version))
        .max_by_key(|name| rank(name));
    let better = better.map(|better| format!("; use {group}/{better} {kind}"));
    format!(
        "{group}/{version} {kind} is deprecated{}",
        better.unwrap_or_default()
    )
}

/// What OpenAPI publishes of a version: its schema as it was declared.
pub fn published(source: &[u8], version: &str) -> Option<(Value, bool)> {
    let definition: Value = serde_json::from_slice(source).ok()?;
    let mut all = versions(&definition).iter();
    let found = all.find(|candidate| str_at(candidate, &["name"]) == version)?;
    let props = struct_at(found, &["schema", "openAPIV3Schema"])
        .cloned()
        .unwrap_or_default();
    Some((
        props,
        bool_at(&definition, &["spec", "preserveUnknownFields"]),
    ))
}

/// 413 for an object that its defaults would make too large.
fn too_large(why: impl std::fmt::Display) -> Status {
    Status::request_too_large(why)
}
