//! Objects as events hold them.

use serde_json::{Value, value::RawValue};

/// Most bytes of an object in an event. A list may be everything there is; upstream's truncation has the same bound for a batch.
pub const OBJECT_BYTES: usize = 10 << 20;

/// An object's JSON; `None` where it is larger than an event may hold.
pub fn encode(object: &Value, omit_managed_fields: bool) -> Option<Box<RawValue>> {
    let encoded = match omit_managed_fields {
        true => {
            let mut object = object.clone();
            strip(&mut object);
            serde_json::value::to_raw_value(&object)
        }
        false => serde_json::value::to_raw_value(object),
    };
    let encoded = encoded.ok()?;
    (encoded.get().len() <= OBJECT_BYTES).then_some(encoded)
}

/// Removes managed fields from an object, the items of a list, the objects of a table's rows.
fn strip(object: &mut Value) {
    let remove = |object: &mut Value| {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            metadata.remove("managedFields");
        }
    };
    remove(object);
    for list in ["items", "rows"] {
        let items = object.get_mut(list).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            match list {
                "items" => remove(item),
                _ => item.get_mut("object").into_iter().for_each(remove),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managed_fields_go_wherever_they_are() {
        let managed = json!({"metadata": {"name": "a", "managedFields": [{}]}});
        let plain = json!({"metadata": {"name": "a"}});
        for (object, wanted) in [
            (managed.clone(), plain.clone()),
            (json!({"items": [managed]}), json!({"items": [plain]})),
            (
                json!({"rows": [{"cells": [], "object": managed}, {"cells": []}]}),
                json!({"rows": [{"cells": [], "object": plain}, {"cells": []}]}),
            ),
        ] {
            let kept = encode(&object, false).expect("it is small");
            assert_eq!(kept.get(), object.to_string());
            let stripped = encode(&object, true).expect("it is small");
            let stripped: Value = serde_json::from_str(stripped.get()).expect("JSON");
            assert_eq!(stripped, wanted);
        }
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let object = json!({"data": "x".repeat(OBJECT_BYTES)});
        assert!(encode(&object, false).is_none());
    }
}
