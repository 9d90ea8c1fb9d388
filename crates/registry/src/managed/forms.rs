//! What a request's object has in another form than what is stored of it, where that counts as a change.
//!
//! Upstream compares a list that is one value by the memory of both sides (Go's `reflect.DeepEqual`), and everything else field by
//! field, where a list without items is none: `resources: []` in a rule changes the rules of a ClusterRole that has none there.

use knarr_apply::Schema;
use knarr_apply::schema::{ListType, MapType};
use knarr_meta::field::Form;
use serde_json::Value;

/// The object with these forms in its lists that are one value; `None`: it has none there.
pub fn asked(object: &Value, schema: &dyn Schema, forms: &[Form]) -> Option<Value> {
    let mut asked = None;
    for form in forms {
        if is_compared_whole(object, schema, &form.pointer) {
            put(asked.get_or_insert_with(|| object.clone()), form);
        }
    }
    asked
}

/// Whether a place is in a list that is one value, or in a list in anything that is.
fn is_compared_whole(object: &Value, schema: &dyn Schema, pointer: &str) -> bool {
    let (mut value, mut schema) = (object, Some(schema));
    let mut within = false;
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        let atom = schema.map(Schema::atom).unwrap_or_default();
        let (next, below) = match value {
            Value::Array(_) if within || atom.list == Some(ListType::Atomic) => return true,
            Value::Array(list) => {
                let item = name.parse().ok().and_then(|index: usize| list.get(index));
                (item, schema.map(Schema::element))
            }
            Value::Object(map) => {
                within |= atom.map == Some(MapType::Atomic);
                let below = schema.and_then(|schema| match schema.field(&name) {
                    Some(field) => Some(field.schema),
                    None => schema.undeclared(),
                });
                (map.get(&name), below)
            }
            _ => return false,
        };
        let Some(next) = next else { return false };
        (value, schema) = (next, below);
    }
    false
}

fn put(object: &mut Value, form: &Form) {
    let Some((parent, name)) = form.pointer.rsplit_once('/') else {
        return;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => match &form.asked {
            Some(asked) => drop(map.insert(name, asked.clone())),
            None => drop(map.remove(&name)),
        },
        Some(Value::Array(list)) => {
            let index: Option<usize> = name.parse().ok();
            let item = index.and_then(|index| list.get_mut(index));
            if let (Some(item), Some(asked)) = (item, &form.asked) {
                *item = asked.clone();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use knarr_api::schema::definition;
    use serde_json::json;

    use super::*;

    fn form(pointer: &str, asked: Option<Value>) -> Form {
        Form {
            pointer: pointer.to_owned(),
            asked,
        }
    }

    #[test]
    fn forms_count_in_lists_that_are_one_value() {
        let role = definition("io.k8s.api.rbac.v1.ClusterRole").unwrap();
        let object = json!({
            "rules": [{"verbs": ["get"]}],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
        });
        let forms = [
            form("/rules/0/resources", Some(json!([]))),
            form("/rules/7/resources", Some(json!([]))),
        ];
        let mut wanted = object.clone();
        wanted["rules"][0]["resources"] = json!([]);
        assert_eq!(asked(&object, role, &forms), Some(wanted));
        assert_eq!(asked(&object, role, &[]), None);
    }

    #[test]
    fn forms_count_for_nothing_in_items_with_keys() {
        let pod = definition("io.k8s.api.core.v1.Pod").unwrap();
        let object = json!({"spec": {
            "containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "v", "downwardAPI": {"items": [
                {"path": "a", "resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}},
            ]}}],
        }});
        let divisor = "/spec/volumes/0/downwardAPI/items/0/resourceFieldRef/divisor";
        let forms = [
            form("/spec/containers/0/env", Some(json!([]))),
            form(
                "/spec/containers/0/resources/limits/cpu",
                Some(json!("1000m")),
            ),
            form(divisor, None),
        ];
        let asked = asked(&object, pod, &forms).unwrap();
        assert_eq!(asked["spec"]["containers"], object["spec"]["containers"]);
        assert_eq!(asked.pointer(divisor), None);
    }
}
