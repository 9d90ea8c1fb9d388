//! Which requests a schema matches: subjects, and what they ask for.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{bool_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::validate;

const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
/// Kinds of subjects, sorted, and the field of each.
const SUBJECTS: [(&str, &str); 3] = [
    ("Group", "group"),
    ("ServiceAccount", "serviceAccount"),
    ("User", "user"),
];
const ALL: &str = "*";

pub(super) fn validate(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let subjects = list_at(rule, &["subjects"]);
    if subjects.is_empty() {
        let message = "subjects must contain at least one value";
        errors.push(Error::required(&path.child("subjects"), message));
    }
    for (index, subject) in subjects.iter().enumerate() {
        validate_subject(subject, &path.child("subjects").index(index), errors);
    }
    let resources = list_at(rule, &["resourceRules"]);
    let others = list_at(rule, &["nonResourceRules"]);
    if resources.is_empty() && others.is_empty() {
        let message = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path, message));
    }
    for (index, rule) in resources.iter().enumerate() {
        validate_resources(rule, &path.child("resourceRules").index(index), errors);
    }
    for (index, rule) in others.iter().enumerate() {
        validate_urls(rule, &path.child("nonResourceRules").index(index), errors);
    }
}

fn validate_subject(subject: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = str_at(subject, &["kind"]);
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        let known = SUBJECTS.map(|(name, _)| name);
        errors.push(Error::not_supported(&path.child("kind"), kind, &known));
        return;
    };
    let own_path = path.child(*own);
    match struct_at(subject, &[own]) {
        None => {
            let message = format!("{own} is required when subject kind is '{kind}'");
            errors.push(Error::required(&own_path, message));
        }
        Some(who) => validate_who(kind, who, &own_path, errors),
    }
    // In the order in which upstream looks.
    for field in ["serviceAccount", "user", "group"] {
        if field != *own && struct_at(subject, &[field]).is_some() {
            let other = SUBJECTS.iter().find(|(_, name)| *name == field);
            let other = other.map_or("", |(kind, _)| kind);
            let message = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.push(Error::forbidden(&path.child(field), message));
        }
    }
}

fn validate_who(kind: &str, who: &Value, path: &Path, errors: &mut ErrorList) {
    let name = str_at(who, &["name"]);
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    if kind != "ServiceAccount" {
        return;
    }
    if !name.is_empty() && name != ALL {
        validate::each(
            errors,
            &path.child("name"),
            name,
            names::dns1123_subdomain(name),
        );
    }
    match str_at(who, &["namespace"]) {
        "" => errors.push(Error::required(
            &path.child("namespace"),
            "must specify namespace for service account",
        )),
        namespace => validate::label(errors, &path.child("namespace"), namespace),
    }
}

fn strings<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    let list = list_at(rule, &[field]).iter();
    list.map(|value| value.as_str().unwrap_or_default())
        .collect()
}

/// A list that holds everything, or some values but not both. Whether its values are to be looked at.
fn validate_list(
    list: &[&str],
    empty: &str,
    what: &str,
    path: &Path,
    errors: &mut ErrorList,
) -> bool {
    if list.is_empty() {
        errors.push(Error::required(path, empty));
        return false;
    }
    let all = list.contains(&ALL);
    if all && list.len() > 1 {
        let message = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(path, list.to_vec(), message));
    }
    !all
}

fn validate_verbs(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let (verbs, path) = (strings(rule, "verbs"), path.child("verbs"));
    let empty = "verbs must contain at least one value";
    if validate_list(&verbs, empty, "verbs", &path, errors)
        && verbs.iter().any(|verb| !VERBS.contains(verb))
    {
        errors.push(Error::not_supported(&path, verbs, &VERBS));
    }
}

fn validate_urls(rule: &Value, path: &Path, errors: &mut ErrorList) {
    validate_verbs(rule, path, errors);
    let (urls, path) = (
        strings(rule, "nonResourceURLs"),
        path.child("nonResourceURLs"),
    );
    let empty = "nonResourceURLs must contain at least one value";
    if validate_list(&urls, empty, "non-resource URLs", &path, errors) {
        for (index, url) in urls.iter().enumerate() {
            if let Some(message) = url_error(url) {
                errors.push(Error::invalid(&path.index(index), *url, message));
            }
        }
    }
}

fn url_error(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn validate_resources(rule: &Value, path: &Path, errors: &mut ErrorList) {
    validate_verbs(rule, path, errors);
    for (field, empty, what) in [
        (
            "apiGroups",
            "resource rules must supply at least one api group",
            "api groups",
        ),
        (
            "resources",
            "resource rules must supply at least one resource",
            "resources",
        ),
    ] {
        validate_list(
            &strings(rule, field),
            empty,
            what,
            &path.child(field),
            errors,
        );
    }
    let (namespaces, path) = (strings(rule, "namespaces"), path.child("namespaces"));
    if namespaces.is_empty() && bool_at(rule, &["clusterScope"]) {
        return;
    }
    let empty = "resource rules that are not cluster scoped must supply at least one namespace";
    if validate_list(&namespaces, empty, "namespaces", &path, errors) {
        for (index, namespace) in namespaces.iter().enumerate() {
            for message in names::dns1123_label(namespace) {
                let message =
                    format!("each member of this list must be '*' or a DNS-1123 label; {message}");
                errors.push(Error::invalid(&path.index(index), *namespace, message));
            }
        }
    }
}
