//! What a write through a subresource may change: the fields that its declaration lists.

use knarr_api::{
    Kind,
    kind::{NOTHING, Part},
};
use serde_json::{Map, Value};

/// The paths that a part may change; `None`: all of them, as far as the strategy allows.
pub fn changes(kind: &Kind, part: Part) -> Option<&'static [&'static [&'static str]]> {
    let name = match part {
        Part::Main => return None,
        Part::Status => "status",
        Part::Subresource(name) => name,
    };
    // What is not declared changes nothing.
    Some(kind.subresource(name).map_or(NOTHING, |s| s.changes))
}

/// `old` with the fields at `changes` as they are in `new`.
pub fn restrict(changes: &[&[&str]], new: &Value, old: &Value) -> Value {
    let mut restricted = old.clone();
    for path in changes {
        copy(path, new, &mut restricted);
    }
    restricted
}

/// Sets or removes the field at `path` of `to` as it is in `from`.
fn copy(path: &[&str], from: &Value, to: &mut Value) {
    let (Some((field, rest)), Some(map)) = (path.split_first(), to.as_object_mut()) else {
        return;
    };
    match (from.get(field), rest.is_empty()) {
        (Some(value), true) => {
            map.insert((*field).to_owned(), value.clone());
        }
        (None, true) => {
            map.remove(*field);
        }
        (value, false) => {
            if value.is_some() && !map.contains_key(*field) {
                map.insert((*field).to_owned(), Value::Object(Map::new()));
            }
            if let Some(child) = map.get_mut(*field) {
                copy(rest, value.unwrap_or(&Value::Null), child);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_declared_changes() {
        let old = json!({
            "metadata": {"name": "a", "labels": {"x": "1"}},
            "spec": {"replicas": 1, "image": "i"},
            "status": {"phase": "Running"},
        });
        let new = json!({
            "metadata": {"name": "b"},
            "spec": {"replicas": 2, "image": "evil"},
            "status": {"phase": "Failed"},
            "more": true,
        });
        let scaled = restrict(&[&["spec", "replicas"]], &new, &old);
        assert_eq!(scaled["spec"], json!({"replicas": 2, "image": "i"}));
        assert_eq!(
            (&scaled["metadata"], &scaled["status"]),
            (&old["metadata"], &old["status"])
        );
        assert!(scaled.get("more").is_none());
        let labels = restrict(&[&["metadata", "labels"]], &new, &old);
        assert_eq!(
            labels["metadata"],
            json!({"name": "a"}),
            "absent in the new one: removed"
        );
        assert_eq!(restrict(&[&["spec", "a", "b"]], &json!({}), &old), old);
        assert_eq!(restrict(NOTHING, &new, &old), old);
    }

    #[test]
    fn no_other_subresource_reaches_status() {
        for kind in knarr_api::built_in_kinds() {
            for subresource in kind.subresources.iter() {
                let reaches = subresource
                    .changes
                    .iter()
                    .any(|path| path.first() == Some(&"status"));
                let may = matches!(subresource.name, "approval" | "status" | "binding");
                assert!(may || !reaches, "{}/{}", kind.resource, subresource.name);
            }
            assert_eq!(changes(kind, Part::Subresource("made-up")), Some(NOTHING));
        }
    }
}
