//! Validation of files in volumes: what they show, and where.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, str_at, struct_at},
};
use serde_json::Value;

use super::env;
use crate::validate;

const MODE_MESSAGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

pub(super) fn validate_mode(
    owner: &Value,
    field: &'static str,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(mode) = i64_at(owner, &[field])
        && !(0..=0o777).contains(&mode)
    {
        errors.push(Error::invalid(&path.child(field), mode, MODE_MESSAGE));
    }
}

pub(super) fn validate_key_to_path(item: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, item, &["key", "path"], path);
    validate_not_reserved(str_at(item, &["path"]), &path.child("path"), errors);
    validate_mode(item, "mode", path, errors);
}

pub(super) fn validate_downward_file(item: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, item, &["path"], path);
    validate_not_reserved(str_at(item, &["path"]), &path.child("path"), errors);
    let field = struct_at(item, &["fieldRef"]);
    let resource = struct_at(item, &["resourceFieldRef"]);
    match (field, resource) {
        (Some(field), resource) => {
            let field_path = path.child("fieldRef");
            env::validate_field_ref(field, env::VOLUME_FIELDS, &field_path, errors);
            if resource.is_some() {
                errors.push(Error::invalid(
                    path,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                ));
            }
        }
        (None, Some(resource)) => {
            env::validate_resource_ref(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.push(Error::required(
            path,
            "one of fieldRef and resourceFieldRef is required",
        )),
    }
    validate_mode(item, "mode", path, errors);
}

/// A path below a directory: relative, and never up.
pub(crate) fn validate_descending(target: &str, path: &Path, errors: &mut ErrorList) {
    if target.starts_with('/') {
        errors.push(Error::invalid(path, target, "must be a relative path"));
    }
    validate_no_backsteps(target, path, errors);
}

/// As above, and no name that begins with `..`: those are the volume writer's.
pub(super) fn validate_not_reserved(target: &str, path: &Path, errors: &mut ErrorList) {
    validate_descending(target, path, errors);
    if target.starts_with("..") && target != ".." && !target.starts_with("../") {
        errors.push(Error::invalid(path, target, "must not start with '..'"));
    }
}

pub(crate) fn validate_no_backsteps(target: &str, path: &Path, errors: &mut ErrorList) {
    if target.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, target, "must not contain '..'"));
    }
}
