//! Whether defaults are valid values of their schemas, with nothing that pruning would remove.

use knarr_meta::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::{Metadata, Schema, embedded, prune, rules::Rules, validate};

pub(super) fn check(schema: &Schema, path: &Path, metadata: &dyn Metadata) -> ErrorList {
    let mut errors = ErrorList::new();
    walk(schema, path, metadata, &mut errors);
    errors
}

/// Those in type and metadata are forbidden at the root; in embedded resources they are values like others.
fn walk(schema: &Schema, path: &Path, metadata: &dyn Metadata, errors: &mut ErrorList) {
    if let Some(default) = &schema.default {
        one(
            &default.value,
            schema,
            &path.child("default"),
            metadata,
            errors,
        );
    }
    if let Some(items) = &schema.items {
        walk(items, &path.child("items"), metadata, errors);
    }
    for (name, property) in schema.properties() {
        walk(
            property,
            &path.child("properties").key(name),
            metadata,
            errors,
        );
    }
}

fn one(
    default: &Value,
    schema: &Schema,
    path: &Path,
    metadata: &dyn Metadata,
    errors: &mut ErrorList,
) {
    let mut pruned = default.clone();
    prune::prune(&mut pruned, schema);
    if pruned != *default {
        errors.push(Error::invalid(
            path,
            default.clone(),
            "must not have unknown fields",
        ));
    }
    if let Err(mut error) = embedded::coerce(&mut pruned, schema, metadata, false) {
        error.field = join(path, &error.field);
        errors.push(error);
        return;
    }
    let mut wrong = ErrorList::new();
    embedded::validate_value(default, schema, path, &mut wrong);
    if wrong.is_empty() {
        wrong = validate::default_value(default, schema, &path.to_string());
    }
    if wrong.is_empty()
        && let Some(rules) = Rules::new(schema, false)
    {
        wrong = rules.validate_at(default, Some(default), path);
        wrong.extend(rules.validate_at(default, None, path));
        wrong.dedup();
    }
    errors.extend(wrong);
}

fn join(path: &Path, field: &str) -> String {
    match field {
        "" => path.to_string(),
        field => format!("{path}.{field}"),
    }
}
