//! Validation of metadata, with upstream's rules and wording (`ValidateObjectMetaAccessor` and its update form).

use serde_json::{Map, Value};

use crate::{
    field::{Error, ErrorList, Path},
    names,
    object::{bool_at, list_at, map_at, str_at, strings},
};

/// Keys and values of all annotations together.
pub const TOTAL_ANNOTATION_SIZE_LIMIT_BYTES: usize = 256 * 1024;
pub const MANAGER_NAME_MAX_LENGTH: usize = 128;
/// Most bytes of the name of a subresource in managed fields.
const SUBRESOURCE_NAME_MAX_LENGTH: usize = 256;
/// Upstream's words for a changed immutable field.
pub const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Everything but the syntax of the name, which is the kind's business: see [`validate_with`].
pub fn validate(metadata: &Value, namespaced: bool, path: &Path) -> ErrorList {
    validate_with(metadata, namespaced, |_, _| Vec::new(), path)
}

/// All of metadata on create. `name` validates a name or, where its second argument is true, a prefix of one.
pub fn validate_with(
    metadata: &Value,
    namespaced: bool,
    name: impl Fn(&str, bool) -> Vec<String>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let generate_name = str_at(metadata, &["generateName"]);
    if !generate_name.is_empty() {
        invalid_each(
            &mut errors,
            &path.child("generateName"),
            generate_name,
            name(generate_name, true),
        );
    }
    let own_name = str_at(metadata, &["name"]);
    if own_name.is_empty() {
        errors.push(Error::required(
            &path.child("name"),
            "name or generateName is required",
        ));
    } else {
        let messages = name(own_name, false);
        if !messages.is_empty() {
            invalid_each(&mut errors, &path.child("name"), own_name, messages);
        }
    }
    let namespace = str_at(metadata, &["namespace"]);
    match (namespaced, namespace) {
        (true, "") => errors.push(Error::required(&path.child("namespace"), "")),
        (true, namespace) => {
            let messages = names::dns1123_label(namespace);
            if !messages.is_empty() {
                invalid_each(&mut errors, &path.child("namespace"), namespace, messages);
            }
        }
        (false, "") => {}
        (false, _) => errors.push(Error::forbidden(
            &path.child("namespace"),
            "not allowed on this type",
        )),
    }
    validate_generation(metadata, path, &mut errors);
    common(metadata, path, &mut errors);
    validate_finalizers(metadata, path, &mut errors);
    errors
}

/// Metadata on update, against the stored one. The REST layer has already carried over what clients may leave out
/// (uid, creationTimestamp, deletion fields, resourceVersion of an unconditional update).
pub fn validate_update(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !str_at(old, &["deletionTimestamp"]).is_empty() {
        let before = list_at(old, &["finalizers"]);
        let mut added: Vec<&str> = list_at(new, &["finalizers"])
            .iter()
            .filter(|finalizer| !before.contains(finalizer))
            .filter_map(Value::as_str)
            .collect();
        added.sort_unstable();
        added.dedup();
        if !added.is_empty() {
            let quoted: Vec<String> = added.iter().map(|f| crate::field::quote(f)).collect();
            errors.push(Error::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    quoted.join(", ")
                ),
            ));
        }
    }
    if str_at(new, &["resourceVersion"]).is_empty() {
        errors.push(Error::invalid(
            &path.child("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    validate_generation(new, path, &mut errors);
    let generation = |metadata: &Value| {
        metadata
            .get("generation")
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    if generation(new) < generation(old) {
        errors.push(Error::invalid(
            &path.child("generation"),
            generation(new),
            "must not be decremented",
        ));
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        immutable(
            new.get(field).unwrap_or(&Value::Null),
            old.get(field).unwrap_or(&Value::Null),
            || path.child(field),
            &mut errors,
        );
    }
    common(new, path, &mut errors);
    errors
}

/// Pushes an error where the two differ; absent, null and the empty string are the same.
pub fn immutable(new: &Value, old: &Value, path: impl Fn() -> Path, errors: &mut ErrorList) {
    let empty = |value: &Value| value.is_null() || value.as_str() == Some("");
    if new != old && !(empty(new) && empty(old)) {
        errors.push(Error::invalid(&path(), new.clone(), IMMUTABLE));
    }
}

fn validate_generation(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
        && generation < 0
    {
        errors.push(Error::invalid(
            &path.child("generation"),
            generation,
            NOT_NEGATIVE,
        ));
    }
}

fn common(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = map_at(metadata, &["labels"]) {
        validate_labels(labels, &path.child("labels"), errors);
    }
    if let Some(annotations) = map_at(metadata, &["annotations"]) {
        validate_annotations(annotations, &path.child("annotations"), errors);
    }
    validate_owner_references(metadata, path, errors);
    validate_managed_fields(metadata, path, errors);
}

fn invalid_each(errors: &mut ErrorList, path: &Path, value: &str, messages: Vec<String>) {
    errors.extend(
        messages
            .into_iter()
            .map(|message| Error::invalid(path, value, message)),
    );
}

/// A map of labels: also pod templates' and selectors'.
pub fn validate_labels(labels: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    for (key, value) in strings(Some(labels)) {
        invalid_each(errors, path, key, names::qualified_name(key));
        invalid_each(errors, path, value, names::label_value(value));
    }
}

/// A map of annotations: keys in any case, and the total size.
pub fn validate_annotations(annotations: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    let mut total = 0;
    for (key, value) in annotations {
        total += key.len() + value.as_str().map_or(0, str::len);
        let messages = if key.bytes().any(|b| b.is_ascii_uppercase()) {
            names::qualified_name(&key.to_lowercase())
        } else {
            names::qualified_name(key)
        };
        invalid_each(errors, path, key, messages);
    }
    if total > TOTAL_ANNOTATION_SIZE_LIMIT_BYTES {
        errors.push(Error::too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT_BYTES));
    }
}

fn validate_owner_references(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let references = list_at(metadata, &["ownerReferences"]);
    if references.is_empty() {
        return;
    }
    let path = path.child("ownerReferences");
    let mut controller: Option<String> = None;
    for (index, reference) in references.iter().enumerate() {
        validate_owner_reference(reference, &path.index(index), errors);
        if !bool_at(reference, &["controller"]) {
            continue;
        }
        let text = |field| str_at(reference, &[field]);
        let this = format!("{}/{}", text("kind"), text("name"));
        match &controller {
            Some(first) => errors.push(Error::invalid(
                &path,
                references.to_vec(),
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                ),
            )),
            None => controller = Some(this),
        }
    }
}

fn validate_owner_reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    let api_version = str_at(reference, &["apiVersion"]);
    let parts = api_version.split('/').count();
    if parts > 2 || api_version.ends_with('/') {
        errors.push(Error::invalid(
            &path.child("apiVersion"),
            api_version,
            "must be <group>/<version> or <version>",
        ));
    }
    for field in ["apiVersion", "kind", "name", "uid"] {
        if str_at(reference, &[field]).is_empty() {
            errors.push(Error::required(&path.child(field), "must not be empty"));
        }
    }
    if api_version == "v1" && str_at(reference, &["kind"]) == "Event" {
        errors.push(Error::invalid(
            path,
            reference.clone(),
            "/v1, Kind=Event is disallowed from being an owner",
        ));
    }
}

/// The form of finalizers, and that they do not contradict each other. Of an update upstream asks this only for kinds that validate
/// it as they do a new object.
pub fn validate_finalizers(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let finalizers = list_at(metadata, &["finalizers"]);
    if finalizers.is_empty() {
        return;
    }
    let path = path.child("finalizers");
    for finalizer in finalizers.iter().filter_map(Value::as_str) {
        invalid_each(errors, &path, finalizer, names::qualified_name(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|f| f.as_str() == Some(name));
    if has("orphan") && has("foregroundDeletion") {
        errors.push(Error::invalid(
            &path,
            finalizers.to_vec(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

/// Finalizers without a domain are only those that everybody knows: one that is misspelt would hold its object for ever. Upstream
/// asks this of its own kinds (core `validateKubeFinalizerName`), not of custom resources.
pub fn validate_standard_finalizers(metadata: &Value, path: &Path) -> ErrorList {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let mut errors = ErrorList::new();
    let path = path.child("finalizers");
    let finalizers = list_at(metadata, &["finalizers"]).iter();
    for (index, name) in finalizers.filter_map(Value::as_str).enumerate() {
        if !name.contains('/') && !STANDARD.contains(&name) {
            errors.push(Error::invalid(
                &path.index(index),
                name,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    errors
}

fn validate_managed_fields(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let entries = list_at(metadata, &["managedFields"]);
    if entries.is_empty() {
        return;
    }
    let path = path.child("managedFields");
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        let operation = str_at(entry, &["operation"]);
        let at = path.child("operation");
        match operation {
            "Apply" | "Update" => {}
            "" => errors.push(Error::required(&at, "must not be empty")),
            other => errors.push(Error::not_supported(&at, other, &["Apply", "Update"])),
        }
        let fields_type = str_at(entry, &["fieldsType"]);
        if !fields_type.is_empty() && fields_type != "FieldsV1" {
            errors.push(Error::invalid(
                &path.child("fieldsType"),
                fields_type,
                "must be `FieldsV1`",
            ));
        }
        validate_manager(str_at(entry, &["manager"]), &path.child("manager"), errors);
        if str_at(entry, &["subresource"]).len() > SUBRESOURCE_NAME_MAX_LENGTH {
            errors.push(Error::too_long(
                &path.child("subresource"),
                SUBRESOURCE_NAME_MAX_LENGTH,
            ));
        }
    }
}

/// The name of a field manager: short, and of characters that can be seen.
pub fn validate_manager(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.len() > MANAGER_NAME_MAX_LENGTH {
        errors.push(Error::too_long(path, MANAGER_NAME_MAX_LENGTH));
    }
    for (position, c) in name.char_indices().filter(|(_, c)| !is_printable(*c)) {
        let code = u32::from(c);
        errors.push(Error::invalid(
            path,
            name,
            format!("invalid character U+{code:04X} (at position {position})"),
        ));
    }
}

/// Whether a character can be seen, as Go's `unicode.IsPrint`; the one space among them is that of ASCII.
pub fn is_printable(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{10ffff}'
    );
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden)
}

/// A structured label selector (`matchLabels`, `matchExpressions`) as a tree.
pub fn validate_label_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = map_at(selector, &["matchLabels"]) {
        validate_labels(labels, &path.child("matchLabels"), errors);
    }
    for (index, expression) in list_at(selector, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = list_at(expression, &["values"]);
        let operator = str_at(expression, &["operator"]);
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.push(Error::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(
                &path.child("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = str_at(expression, &["key"]);
        invalid_each(errors, &path.child("key"), key, names::qualified_name(key));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            invalid_each(
                errors,
                &path.child("values").index(index),
                value,
                names::label_value(value),
            );
        }
    }
}

#[cfg(test)]
mod tests;
