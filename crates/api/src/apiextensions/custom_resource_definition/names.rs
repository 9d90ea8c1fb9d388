//! Names of a definition.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at},
};
use serde_json::Value;

/// Names that are there; which are required is the caller's business.
pub(super) fn validate(given: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["plural", "singular"] {
        label(str_at(given, &[field]), &path.child(field), "", &mut errors);
    }
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    for field in ["kind", "listKind"] {
        let name = str_at(given, &[field]);
        let wrong = names::dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let why = format!("{MIXED}{}", wrong.join(","));
            errors.push(Error::invalid(&path.child(field), name, why));
        }
    }
    each(given, "shortNames", path, &mut errors);
    let (kind, list_kind) = (str_at(given, &["kind"]), str_at(given, &["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), list_kind, why));
    }
    each(given, "categories", path, &mut errors);
    errors
}

fn each(given: &Value, field: &'static str, path: &Path, errors: &mut ErrorList) {
    for (index, name) in list_at(given, &[field]).iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        let wrong = names::dns1035_label(name);
        if !wrong.is_empty() {
            let path = path.child(field).index(index);
            errors.push(Error::invalid(&path, name, wrong.join(",")));
        }
    }
}

fn label(name: &str, path: &Path, prefix: &str, errors: &mut ErrorList) {
    let wrong = names::dns1035_label(name);
    if !name.is_empty() && !wrong.is_empty() {
        errors.push(Error::invalid(
            path,
            name,
            format!("{prefix}{}", wrong.join(",")),
        ));
    }
}
