//! Removes what the schema does not know.

use serde_json::{Map, Value};

use crate::{Additional, Schema};

/// Fields of every object, which no schema need declare.
pub const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Most unknown fields that are told.
const MAX_TOLD: usize = 100;

/// Removes fields that `schema` does not specify, and returns their paths (at most 100, sorted): `spec.list[0].field`. Metadata
/// and type of the root stay where `schema` is [`Schema::as_root`], those of embedded resources too.
pub fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruner = Pruner {
        path: String::new(),
        unknown: Vec::new(),
    };
    pruner.value(object, Some(schema));
    pruner.unknown.sort();
    pruner.unknown
}

struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn value(&mut self, value: &mut Value, schema: Option<&Schema>) {
        match (value, schema) {
            (value, Some(schema)) if schema.preserve_unknown => self.specified(value, schema),
            (Value::Object(map), schema) => self.object(map, schema),
            (Value::Array(list), schema) => {
                let items = schema.and_then(|schema| schema.items.as_deref());
                self.items(list, |pruner, item| pruner.value(item, items));
            }
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, schema: Option<&Schema>) {
        map.retain(|key, value| {
            let Some(schema) = schema else {
                self.tell(key);
                return false;
            };
            if schema.embedded && TYPE_AND_METADATA.contains(&key.as_str()) {
                return true;
            }
            let inner = match (schema.property(key), &schema.additional) {
                (Some(property), _) => Some(property),
                (None, Additional::Of(schema)) => Some(&**schema),
                (None, Additional::Any(_)) => None,
                (None, Additional::Unsaid) => {
                    if !self.path.is_empty() || !TYPE_AND_METADATA.contains(&key.as_str()) {
                        self.tell(key);
                    }
                    return false;
                }
            };
            self.at_key(key, |pruner| pruner.value(value, inner));
            true
        });
    }

    /// Below a schema that keeps what it does not know, what it does know is pruned all the same.
    fn specified(&mut self, value: &mut Value, schema: &Schema) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if schema.embedded && TYPE_AND_METADATA.contains(&key.as_str()) {
                        continue;
                    }
                    let inner = match (schema.property(key), &schema.additional) {
                        (Some(property), _) => Some(property),
                        (None, Additional::Of(schema)) => Some(&**schema),
                        (None, Additional::Any(_)) => None,
                        (None, Additional::Unsaid) => continue,
                    };
                    self.at_key(key, |pruner| pruner.value(value, inner));
                }
            }
            Value::Array(list) => {
                if let Some(items) = &schema.items {
                    self.items(list, |pruner, item| pruner.specified(item, items));
                }
            }
            _ => {}
        }
    }

    fn at_key(&mut self, key: &str, then: impl FnOnce(&mut Pruner)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        then(self);
        self.path.truncate(length);
    }

    fn items(&mut self, list: &mut [Value], mut then: impl FnMut(&mut Pruner, &mut Value)) {
        let length = self.path.len();
        for (index, item) in list.iter_mut().enumerate() {
            if item.is_object() || item.is_array() {
                self.path.push_str(&format!("[{index}]"));
                then(self, item);
                self.path.truncate(length);
            }
        }
    }

    fn tell(&mut self, key: &str) {
        if self.unknown.len() < MAX_TOLD {
            self.unknown.push(match self.path.as_str() {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value, mut object: Value, pruned: Value, unknown: &[&str]) {
        let schema = Schema::parse(&schema).expect("a schema").as_root();
        assert_eq!(prune(&mut object, &schema), unknown);
        assert_eq!(object, pruned);
    }

    #[test]
    fn unknown_fields_go() {
        check(
            json!({"type": "object", "properties": {
                "spec": {"type": "object", "properties": {
                    "a": {"type": "integer"},
                    "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
                    "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
                }},
            }}),
            json!({
                "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "odd": 1}, "more": 1,
                "spec": {"a": 1, "b": 2, "list": [{"x": "1", "y": {}}, 5], "map": {"k": {"x": "", "y": 1}}},
            }),
            json!({
                "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "odd": 1},
                "spec": {"a": 1, "list": [{"x": "1"}, 5], "map": {"k": {"x": ""}}},
            }),
            &["more", "spec.b", "spec.list[0].y", "spec.map.k.y"],
        );
    }

    #[test]
    fn what_is_preserved_stays_and_what_is_specified_in_it_is_pruned() {
        check(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "strict": {"type": "object", "properties": {"a": {"type": "integer"}}},
                "any": {"type": "object", "additionalProperties": true},
            }}),
            json!({"free": {"x": [1, {"y": 2}]}, "strict": {"a": 1, "b": {}}, "any": {"k": {"gone": 1}, "s": 1}}),
            json!({"free": {"x": [1, {"y": 2}]}, "strict": {"a": 1}, "any": {"k": {}, "s": 1}}),
            &["any.k.gone", "strict.b"],
        );
    }

    #[test]
    fn embedded_resources_keep_type_and_metadata() {
        check(
            json!({"type": "object", "properties": {"pod": {
                "type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {"spec": {"type": "object"}},
            }}}),
            json!({"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"x": 1}, "y": 1}}),
            json!({"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}}}),
            &["pod.spec.x", "pod.y"],
        );
    }
}
