//! The behaviour of custom resources of one version.

use std::{collections::BTreeSet, sync::OnceLock};

use bytes::Bytes;
use knarr_meta::{
    field::{Error, ErrorList, ErrorType},
    object,
    status::Status,
};
use knarr_schema::{
    Schema, default, embedded, lists, prune,
    rules::{self, Rules},
    validate,
};
use serde_json::Value;

use super::{Columns, Conversion, Scale, too_large};
use crate::{
    apiextensions::custom_resource_definition::ObjectMeta,
    kind::{Column, Part, Strategy, Text},
    now::Now,
    tree,
};

pub(super) struct CustomResource {
    /// With type and metadata.
    pub root: Schema,
    /// Compiled when an object is written for the first time.
    pub rules: OnceLock<Option<Rules>>,
    pub has_status: bool,
    /// `spec.preserveUnknownFields`, of definitions from before structural schemas.
    pub preserves: bool,
    pub scale: Option<Scale>,
    pub columns: Columns,
    /// Paths of fields without their leading dot.
    pub selectable: Vec<Text>,
    pub deprecation: Option<String>,
    pub version: String,
    /// With the group.
    pub api_version: String,
    /// All that there are, with the group.
    pub versions: Vec<String>,
    pub conversion: Option<Conversion>,
    /// The definition's JSON.
    pub source: Bytes,
}

/// What a list of errors says of rules that were not looked at.
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to \
     complete validation";

impl CustomResource {
    /// Removes what is unknown, fills in defaults. Returns what went.
    fn coerce(&self, object: &mut Value) -> Result<Vec<String>, Status> {
        let refuse = |why: String| {
            let (kind, version) = (object::kind(object).to_owned(), self.version.clone());
            Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
            ))
        };
        let mut unknown = Vec::new();
        let mut metadata = object.get("metadata").cloned().unwrap_or_default();
        if !metadata.is_null() {
            let gone =
                knarr_schema::Metadata::coerce(&ObjectMeta, &mut metadata).map_err(refuse)?;
            unknown.extend(gone.into_iter().map(|field| format!("metadata.{field}")));
            tree::set(object, "metadata", metadata);
        }
        if !self.preserves {
            unknown.extend(prune::prune(object, &self.root));
        }
        // The root's own metadata is decoded already.
        let gone = embedded::coerce(object, &self.root, &ObjectMeta, true);
        unknown.extend(gone.map_err(|error| Status::bad_request(error.to_string()))?);
        default::default(object, &self.root).map_err(too_large)?;
        Ok(unknown
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect())
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut errors = match old {
            Some(old) => validate::update(new, old, &self.root, ""),
            None => validate::create(new, &self.root, ""),
        };
        if let Some(scale) = &self.scale {
            scale.validate_spec(new, &mut errors);
            scale.validate_status(new, &mut errors);
        }
        errors.extend(embedded::validate(new, &self.root));
        self.lists(new, old, &mut errors);
        errors
    }

    /// An update may keep duplicates that were there.
    fn lists(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let wrong = lists::validate(new, &self.root);
        let was_wrong = old.is_some_and(|old| !lists::validate(old, &self.root).is_empty());
        if !was_wrong {
            errors.extend(wrong);
        }
    }

    fn validate_status(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if let (Some(status), Some(schema)) = (new.get("status"), self.root.property("status")) {
            let before = old.get("status").unwrap_or(&Value::Null);
            errors.extend(validate::update(status, before, schema, "status"));
        }
        if let Some(scale) = &self.scale {
            scale.validate_status(new, &mut errors);
        }
        self.lists(new, Some(old), &mut errors);
        errors
    }
}

impl Strategy for CustomResource {
    /// Rules are looked at where an object has the shape that they were written for.
    fn validate_rest(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let blocks = |error: &Error| {
            use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(
                error.kind,
                NotSupported | Required | TooLong | TooMany | TypeInvalid
            )
        };
        if !self.root.has_rules() {
            return;
        }
        if errors.iter().any(blocks) {
            errors.push(validate::pathless("", Value::Null, NOT_CHECKED));
            return;
        }
        let rules = self.rules.get_or_init(|| Rules::new(&self.root, true));
        errors.extend(rules.iter().flat_map(|rules| rules.validate(new, old)));
    }

    fn apply_schema(&self) -> Option<&dyn knarr_apply::Schema> {
        Some(self)
    }

    fn replicas_path(&self) -> Vec<&str> {
        self.scale.as_ref().map_or_else(Vec::new, Scale::replicas)
    }

    fn decode(&self, object: &mut Value) -> Option<Result<Vec<String>, Status>> {
        Some(self.coerce(object))
    }

    fn default(&self, object: &mut Value) {
        // Admission may have removed what was filled in when the object was decoded; that was not too much.
        let _ = default::default(object, &self.root);
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&self, object: &mut Value) -> Result<(), String> {
        // Only its webhook can make it one of this version.
        if self.conversion.is_some() && object::api_version(object) != self.api_version {
            return Ok(());
        }
        if !self.preserves {
            prune::prune(object, &self.root);
        }
        // An object that has grown too large is read without its defaults.
        let _ = default::default(object, &self.root);
        Ok(())
    }

    fn conversion(&self) -> Option<&Conversion> {
        self.conversion.as_ref()
    }

    fn has_version(&self, api_version: &str) -> bool {
        self.versions.iter().any(|version| version == api_version)
    }

    fn expression_type(&self) -> Option<knarr_cel::Type> {
        rules::type_of(&self.root, true)
    }

    fn published(&self) -> Option<(Value, bool)> {
        super::published(&self.source, &self.version)
    }

    fn prepare_create(&self, object: &mut Value) {
        if self.has_status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if self.has_status && part == Part::Main {
            tree::keep(new, old, "status");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        self.validate(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        match part {
            Part::Status => self.validate_status(new, old),
            _ => self.validate(new, Some(old)),
        }
    }

    /// Of finalizers that are new, each once, in order.
    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let had = |name: &str| {
            old.is_some_and(|old| object::finalizers(old).any(|before| before == name))
        };
        let names: BTreeSet<&str> = object::finalizers(object)
            .filter(|name| !had(name))
            .collect();
        names.into_iter().flat_map(finalizer_warnings).collect()
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        const ASIDE: [&str; 3] = ["apiVersion", "kind", "metadata"];
        let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
            return false;
        };
        let fields = new.keys().chain(old.keys());
        let mut told = fields.filter(|field| !ASIDE.contains(&field.as_str()));
        told.any(|field| new.get(field) != old.get(field))
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn selectable_fields(&self) -> &[Text] {
        &self.selectable
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        let paths = self.selectable.iter();
        let values = paths.map(|path| {
            let names: Vec<&str> = path.split('.').collect();
            match object::at(object, &names) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            }
        });
        values.collect()
    }

    fn columns(&self) -> &[Column] {
        &self.columns.all
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        self.columns.cells(object, now)
    }

    fn scale(&self, object: &Value) -> Option<(i64, i64, String)> {
        Some(self.scale.as_ref()?.of(object))
    }

    fn set_scale(&self, object: &mut Value, replicas: i64) -> Result<(), Status> {
        let scale = self.scale.as_ref().ok_or_else(Status::path_not_found)?;
        scale.set(object, replicas)
    }
}

/// Finalizers that a domain does not tell from another's.
fn finalizer_warnings(name: &str) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let prefix = format!("metadata.finalizers: {name:?}: ");
    let mut warnings: Vec<String> = knarr_meta::names::qualified_name(name)
        .into_iter()
        .map(|wrong| format!("{prefix}{wrong}"))
        .collect();
    if !name.contains('/') && !STANDARD.contains(&name) {
        let path = if name.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        warnings.push(format!(
            "{prefix}prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}
