//! What a definition wants.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names as rules,
    object::{bool_at, list_at, str_at},
};
use serde_json::Value;

use super::{Condition, conversion, is_true, names, versions};
use crate::validate;

/// What is wrong with `spec`; `old` on an update, whose schemas are not judged again where they are the same.
pub(super) fn validate(definition: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let empty = Value::Null;
    let spec = definition.get("spec").unwrap_or(&empty);
    group(spec, &path, &mut errors);
    let scopes = ["Cluster", "Namespaced"];
    validate::one_of(
        &mut errors,
        &path.child("scope"),
        str_at(spec, &["scope"]),
        &scopes,
        true,
    );
    versions::validate_each(definition, old, &mut errors);
    sets(spec, &path.child("versions"), &mut errors);
    // Upstream's internal type has the first version's name once more.
    let first = versions(definition)
        .first()
        .map_or("", |version| str_at(version, &["name"]));
    let wrong = rules::dns1035_label(first);
    if !first.is_empty() && !wrong.is_empty() {
        errors.push(Error::invalid(
            &path.child("version"),
            first,
            wrong.join(","),
        ));
    }
    let given = spec.get("names").unwrap_or(&empty);
    let names_path = path.child("names");
    validate::filled(
        &mut errors,
        given,
        &["plural", "singular", "kind", "listKind"],
        &names_path,
    );
    errors.extend(names::validate(given, &names_path));
    versions::validate_shared(definition, old, &mut errors);
    if let Some(given) = spec.get("conversion") {
        let path = path.child("conversion");
        let strategy = str_at(given, &["strategy"]);
        if bool_at(spec, &["preserveUnknownFields"]) && !matches!(strategy, "" | "None") {
            let why = "must be None if spec.preserveUnknownFields is true";
            errors.push(Error::invalid(&path.child("strategy"), strategy, why));
        }
        errors.extend(conversion::validate(given, &path));
    }
    errors
}

fn group(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (group, path) = (str_at(spec, &["group"]), path.child("group"));
    let wrong = rules::dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(Error::required(&path, ""));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(&path, group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(Error::invalid(
            &path,
            group,
            "should be a domain with at least one dot",
        ));
    }
}

/// Names are unique and one version is stored.
fn sets(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let versions = list_at(spec, &["versions"]);
    // None at all are shown as none.
    let shown = spec.get("versions").cloned().unwrap_or_default();
    let mut seen = HashSet::new();
    if !versions
        .iter()
        .all(|version| seen.insert(str_at(version, &["name"])))
    {
        errors.push(Error::invalid(
            path,
            shown.clone(),
            "must contain unique version names",
        ));
    }
    if versions
        .iter()
        .filter(|version| bool_at(version, &["storage"]))
        .count()
        != 1
    {
        errors.push(Error::invalid(
            path,
            shown,
            "must have exactly one version marked as storage version",
        ));
    }
}

/// What names objects in the store cannot change.
pub(super) fn validate_immutable(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let mut check = |fields: &[&'static str]| {
        let at = |object| knarr_meta::object::at(object, &[&["spec"], fields].concat()).cloned();
        let path = fields
            .iter()
            .fold(path.clone(), |path, field| path.child(*field));
        validate::immutable(&mut errors, &path, at(new).as_ref(), at(old).as_ref());
    };
    if is_true(old, Condition::Established) {
        check(&["scope"]);
        check(&["names", "kind"]);
    }
    check(&["group"]);
    check(&["names", "plural"]);
    errors
}
