//! What a definition says of its versions: schema, subresources, columns, selectable fields.
//!
//! Upstream's internal type says once what all versions have in common, and its errors name that place: `spec.validation`, not
//! `spec.versions[0].schema`. So do these.

use std::collections::{BTreeSet, HashSet};

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names as rules,
    object::{bool_at, list_at, str_at, struct_at},
};
use knarr_schema::{
    Schema, Type, check,
    field_path::{self, Brackets},
    formats,
};
use serde_json::Value;

use super::{ObjectMeta, versions};
use crate::tree;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const MAX_SELECTABLE_FIELDS: usize = 8;

/// A field of versions, and what upstream calls it where all versions say the same.
type Part = (&'static str, &'static str);

const SCHEMA: Part = ("schema", "validation");
const SUBRESOURCES: Part = ("subresources", "subresources");
const COLUMNS: Part = ("additionalPrinterColumns", "additionalPrinterColumns");
const SELECTABLE: Part = ("selectableFields", "selectableFields");

/// Whether all versions say the same in a field.
fn is_shared(definition: &Value, (field, _): Part) -> bool {
    let mut all = versions(definition)
        .iter()
        .map(|version| version.get(field));
    let first = all.next().flatten();
    all.all(|other| tree::same(other, first))
}

/// Version by version, what they do not share.
pub(super) fn validate_each(definition: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let path = Path::new("spec").child("versions");
    for (index, version) in versions(definition).iter().enumerate() {
        let schema = struct_at(version, &["schema", "openAPIV3Schema"]);
        if schema.is_none() && !had_none(version, old) {
            let path = path.index(index).child("schema").child("openAPIV3Schema");
            errors.push(Error::required(&path, ""));
        }
    }
    for (index, version) in versions(definition).iter().enumerate() {
        let path = path.index(index);
        let name = str_at(version, &["name"]);
        let wrong = rules::dns1035_label(name);
        if !wrong.is_empty() {
            errors.push(Error::invalid(&path.child("name"), name, wrong.join(",")));
        }
        deprecation(version, &path, errors);
        if !is_shared(definition, SCHEMA) {
            schema(
                version,
                old,
                has_status(version),
                &path.child("schema"),
                errors,
            );
        }
        if !is_shared(definition, SUBRESOURCES) {
            subresources(version, &path.child("subresources"), errors);
        }
        if !is_shared(definition, COLUMNS) {
            columns(version, &path.child("additionalPrinterColumns"), errors);
        }
        if !is_shared(definition, SELECTABLE) {
            selectable(version, old, &path, errors);
        }
    }
}

/// What all versions share.
pub(super) fn validate_shared(definition: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let Some(first) = versions(definition).first() else {
        return;
    };
    let path = Path::new("spec");
    if is_shared(definition, SCHEMA) {
        let status = versions(definition).iter().any(has_status);
        schema(first, old, status, &path.child(SCHEMA.1), errors);
    }
    if is_shared(definition, SUBRESOURCES) {
        subresources(first, &path.child(SUBRESOURCES.1), errors);
    }
    if is_shared(definition, COLUMNS) {
        columns(first, &path.child(COLUMNS.1), errors);
    }
    if is_shared(definition, SELECTABLE) {
        selectable(first, old, &path, errors);
    }
}

fn has_status(version: &Value) -> bool {
    struct_at(version, &["subresources", "status"]).is_some()
}

/// The same version of the old definition.
fn former<'o>(version: &Value, old: Option<&'o Value>) -> Option<&'o Value> {
    let name = str_at(version, &["name"]);
    versions(old?)
        .iter()
        .find(|version| str_at(version, &["name"]) == name)
}

fn had_none(version: &Value, old: Option<&Value>) -> bool {
    former(version, old).is_some_and(|old| struct_at(old, &["schema", "openAPIV3Schema"]).is_none())
}

fn schema(version: &Value, old: Option<&Value>, status: bool, path: &Path, errors: &mut ErrorList) {
    let Some(props) = struct_at(version, &["schema", "openAPIV3Schema"]) else {
        return;
    };
    // What was accepted once is not judged by what came later.
    if former(version, old).is_some_and(|old| tree::same(old.get("schema"), version.get("schema")))
    {
        return;
    }
    let options = check::Options {
        metadata: &ObjectMeta,
        status,
    };
    errors.extend(check::check(
        props,
        &path.child("openAPIV3Schema"),
        &options,
    ));
}

fn deprecation(version: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(text) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return;
    };
    let path = path.child("deprecationWarning");
    let mut refuse = |why: &str| errors.push(Error::invalid(&path, text, why));
    if !bool_at(version, &["deprecated"]) {
        return refuse("can only be set for deprecated versions");
    }
    if text.len() > 256 {
        refuse("must be <= 256 characters long");
    }
    if text.is_empty() {
        refuse("must not be an empty string");
    }
    if let Some((index, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

fn simple_json_path(text: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let valid = text.starts_with('.');
    if !valid {
        errors.push(Error::invalid(
            path,
            text,
            "must be a simple json path starting with .",
        ));
    }
    valid
}

fn subresources(version: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(scale) = struct_at(version, &["subresources", "scale"]) else {
        return;
    };
    for (field, prefix, below) in [
        (
            "specReplicasPath",
            ".spec.",
            "should be a json path under .spec",
        ),
        (
            "statusReplicasPath",
            ".status.",
            "should be a json path under .status",
        ),
    ] {
        let (text, path) = (
            str_at(scale, &[field]),
            path.child(format!("scale.{field}")),
        );
        if text.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if simple_json_path(text, &path, errors) && !text.starts_with(prefix) {
            errors.push(Error::invalid(&path, text, below));
        }
    }
    let (text, path) = (
        str_at(scale, &["labelSelectorPath"]),
        path.child("scale.labelSelectorPath"),
    );
    if !text.is_empty()
        && simple_json_path(text, &path, errors)
        && !text.starts_with(".spec.")
        && !text.starts_with(".status.")
    {
        let why = "should be a json path under either .spec or .status";
        errors.push(Error::invalid(&path, text, why));
    }
}

fn columns(version: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, column) in list_at(version, &["additionalPrinterColumns"])
        .iter()
        .enumerate()
    {
        let path = path.index(index);
        let text = |field: &str| str_at(column, &[field]);
        if text("name").is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        let types = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text("type") {
            "" => errors.push(Error::required(&path.child("type"), types)),
            ty if !COLUMN_TYPES.contains(&ty) => {
                errors.push(Error::invalid(&path.child("type"), ty, types))
            }
            _ => {}
        }
        let format = text("format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(Error::invalid(&path.child("format"), format, why));
        }
        let path = path.child("JSONPath");
        match text("jsonPath") {
            "" => errors.push(Error::required(&path, "")),
            text => {
                simple_json_path(text, &path, errors);
            }
        }
    }
}

/// `owner` leads to what declares the fields.
fn selectable(version: &Value, old: Option<&Value>, owner: &Path, errors: &mut ErrorList) {
    let path = &owner.child(SELECTABLE.1);
    let fields = list_at(version, &["selectableFields"]);
    if fields.is_empty() {
        return;
    }
    let Some(props) = struct_at(version, &["schema", "openAPIV3Schema"]) else {
        errors.push(Error::invalid(
            path,
            "",
            "may only be set when validations.schema is included",
        ));
        return;
    };
    // Upstream tells it where it looks for the fields, too, though not of types that there are none of.
    if let Err(why) = Schema::draft(props) {
        let path = owner.child("schema").child("openAPIV3Schema");
        errors.push(Error::invalid(&path, "", why.to_string()));
    }
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = path.index(index).child("jsonPath");
        let text = str_at(field, &["jsonPath"]);
        if text.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        let (at, found) = match field_path::find(text, props, Brackets::Refused) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("is an invalid path: {why}");
                errors.push(Error::invalid(&path, text, why));
                continue;
            }
        };
        let at = at.to_string();
        if at.split(['.', '[']).next() == Some("metadata") {
            errors.push(Error::invalid(
                &path,
                text,
                "must not point to fields in metadata",
            ));
        }
        let ty = found.map_or("", |found| str_at(found, &["type"]));
        if !matches!(ty, "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are \
                       allowed.";
            errors.push(Error::invalid(&path, text, why));
        }
        if !seen.insert(at) {
            errors.push(Error::duplicate(&path, text));
        }
    }
    let before = former(version, old).map(|old| list_at(old, &["selectableFields"]));
    if seen.len() > MAX_SELECTABLE_FIELDS && before != Some(fields) {
        errors.push(Error::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
}

/// Formats that nobody checks, and sets whose elements are compared as wholes.
pub(super) fn warnings(definition: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut sets = BTreeSet::new();
    for version in versions(definition) {
        let Some(props) = struct_at(version, &["schema", "openAPIV3Schema"]) else {
            continue;
        };
        check::walk(props, &mut |props| {
            let format = str_at(props, &["format"]);
            let ty = Type::parse(str_at(props, &["type"]));
            let told = format!("unrecognized format {format:?}");
            if !format.is_empty() && !formats::is_checked(ty, format) && !unknown.contains(&told) {
                unknown.push(told);
            }
            let items = str_at(props, &["items", "type"]);
            if str_at(props, &["x-kubernetes-list-type"]) == "set"
                && matches!(items, "object" | "array")
            {
                sets.insert(format!(
                    "x-kubernetes-list-type: set for items of type {items:?} is not supported by server-side apply or CEL \
                     validation rules"
                ));
            }
        });
    }
    unknown.into_iter().chain(sets).collect()
}
