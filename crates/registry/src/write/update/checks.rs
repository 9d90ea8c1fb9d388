//! What a changed object has to be: the one that was asked for, of the state that was read, and valid.

use knarr_api::{core::forgive_kept, kind::Part, schema::enums};
use knarr_meta::{
    GroupKind,
    field::{Error, Path, quote},
    names, object, object_meta,
    status::{Reason, Status},
};
use serde_json::Value;

use super::names as generated;
use crate::write::{Current, Write, check_namespace, in_words_of, metadata, set_type};

/// 400 unless an object says the name that the request does.
pub fn check_name(name: &str, tree: &Value) -> Result<(), Status> {
    let given = tree["metadata"]["name"].as_str().unwrap_or_default();
    if given.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// The body is of another object than the one that is there, or than none.
pub fn other_uid(write: &Write<'_>, name: &str, uid: &str, current: &str) -> Status {
    let (_, key) = write.keys(name);
    // In upstream's words, a store's: one that only pretends to write does not know where it would.
    let key = match write.dry_run {
        true => key.strip_prefix("/registry").unwrap_or(&key),
        false => &key,
    };
    Status::conflict(
        write.group_resource(),
        name,
        format_args!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {current}"
        ),
    )
}

/// A whole object that says a uid is one of that object. What a patch makes of a uid is for validation to refuse.
pub fn check_uid(
    write: &Write<'_>,
    name: &str,
    tree: &Value,
    current: &Value,
) -> Result<(), Status> {
    let (uid, current) = (object::uid(tree), object::uid(current));
    match uid.is_empty() || uid == current {
        true => Ok(()),
        false => Err(other_uid(write, name, uid, current)),
    }
}

/// Name, namespace and resourceVersion of the wanted object against the current one.
pub fn preconditions(
    write: &Write<'_>,
    name: &str,
    current: &Current,
    tree: &mut Value,
) -> Result<(), Status> {
    check_namespace(write, tree)?;
    set_type(write.kind, tree);
    check_name(name, tree)?;
    let version = object::resource_version(tree).to_owned();
    let meta = metadata(tree);
    let current_version = current.entry.revision.to_string();
    match version.as_str() {
        "" | "0" if write.kind.strategy.unconditional_update() => {
            meta.insert("resourceVersion".into(), Value::from(current_version));
            Ok(())
        }
        "" | "0" => {
            let path = Path::new("metadata").child("resourceVersion");
            let error = Error::invalid(&path, 0, "must be specified for an update");
            let kind = GroupKind::new(write.group.to_owned(), write.kind.resource.clone());
            Err(Status::invalid(kind, name, vec![error]))
        }
        given if given == current_version => Ok(()),
        // Upstream's error has no status of its own.
        given if given.parse::<u64>().is_err() => Err(Status::new(
            500,
            Reason::Unknown,
            format!(
                "strconv.ParseUint: parsing {}: invalid syntax",
                quote(given)
            ),
        )),
        _ => Err(Status::modified(write.group_resource(), name)),
    }
}

/// What the kind and its metadata demand of a change.
pub fn validate(
    write: &Write<'_>,
    name: &str,
    part: Part,
    tree: &Value,
    old: &Value,
) -> Result<(), Status> {
    let null = Value::Null;
    let (meta, old_meta) = (
        tree.get("metadata").unwrap_or(&null),
        old.get("metadata").unwrap_or(&null),
    );
    let path = Path::new("metadata");
    let namespaced = write.kind.namespaced();
    let mut errors = object_meta::validate_with(meta, namespaced, names::path_segment, &path);
    errors.extend(object_meta::validate_update(meta, old_meta, &path));
    if write.kind.has_standard_finalizers() {
        errors.extend(object_meta::validate_standard_finalizers(meta, &path));
    }
    if part == Part::Main {
        generated::validate(write.kind, tree, &mut errors);
    }
    let strategy = &write.kind.strategy;
    errors.extend(strategy.validate_update(tree, old, part));
    forgive_kept(old, &mut errors);
    strategy.validate_rest(tree, Some(old), &mut errors);
    enums::add_empty_values(&write.kind.definition, tree, Some(old), &mut errors);
    if let Some(alias) = write.alias {
        in_words_of(alias, &mut errors);
        errors.extend((alias.validate)(tree, Some(old)));
    }
    if !errors.is_empty() {
        return Err(write.invalid(name, errors));
    }
    for warning in write.kind.strategy.warnings(tree, Some(old), part) {
        write.warnings.add(warning);
    }
    Ok(())
}
