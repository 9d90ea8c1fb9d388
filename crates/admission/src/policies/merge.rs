//! Configurations of policies merged into objects: as server-side apply, but nobody owns anything by it, and what is one value as a
//! whole may not be said.

use knarr_apply::{
    Schema,
    schema::{ListType, MapType},
    typed::{self, Duplicates},
};
use serde_json::Value;

/// The object with what the configuration says.
///
/// # Errors
/// In upstream's words (`ApplyStructuredMergeDiff`).
pub fn configuration(object: &Value, config: &Value, schema: &dyn Schema) -> Result<Value, String> {
    typed::validate(config, schema, Duplicates::Refused)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut atomics = Vec::new();
    find_atomics(config, schema, &mut String::new(), &mut atomics);
    if !atomics.is_empty() {
        let atomics = atomics.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomics}"
        ));
    }
    typed::validate(object, schema, Duplicates::Allowed)
        .map_err(|why| format!("failed to convert original object to typed object: {why}"))?;
    typed::merge(object, config, schema).map_err(|why| format!("failed to merge patch: {why}"))
}

/// Paths of what is one value as a whole. Upstream looks into declared fields and elements of lists only.
fn find_atomics(value: &Value, schema: &dyn Schema, path: &mut String, found: &mut Vec<String>) {
    let atom = schema.atom();
    let before = path.len();
    match value {
        Value::Object(map) => {
            if atom.map == Some(MapType::Atomic) {
                found.push(path.clone());
            }
            for (name, value) in map.iter().filter(|_| atom.map.is_some()) {
                if let Some(field) = schema.field(name) {
                    path.push('.');
                    path.push_str(name);
                    find_atomics(value, field.schema, path, found);
                    path.truncate(before);
                }
            }
        }
        Value::Array(list) => {
            if atom.list == Some(ListType::Atomic) {
                found.push(path.clone());
            }
            for (index, value) in list.iter().enumerate().filter(|_| atom.list.is_some()) {
                path.push_str(&format!("[{index}]"));
                find_atomics(value, schema.element(), path, found);
                path.truncate(before);
            }
        }
        _ => {}
    }
}
