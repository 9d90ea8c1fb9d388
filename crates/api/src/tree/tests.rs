use serde_json::{Value, json};

use super::{keep, same};

#[test]
fn empty_is_absent() {
    let equal = [
        (json!(null), json!([])),
        (json!({"a": null}), json!({})),
        (json!(null), json!("")),
        (json!({"a": []}), json!({})),
        (
            json!({"a": {"b": [{"c": null}]}}),
            json!({"a": {"b": [{}]}}),
        ),
        (json!([1, "x"]), json!([1, "x"])),
    ];
    for (a, b) in &equal {
        assert!(same(Some(a), Some(b)) && same(Some(b), Some(a)), "{a} {b}");
    }
    let different = [
        (json!({"a": 0}), json!({})),
        (json!({"a": false}), json!({})),
        (json!([1]), json!([1, 2])),
        (json!({"a": {}}), json!({"a": null})),
        (json!({"a": {"b": 1}}), json!({"a": {}})),
        // As of labels and selectors of nodes, whose values are often empty.
        (json!({"a": {"b": ""}}), json!({"a": {}})),
        (json!({"a": ""}), json!({})),
    ];
    for (a, b) in &different {
        assert!(
            !same(Some(a), Some(b)) && !same(Some(b), Some(a)),
            "{a} {b}"
        );
    }
    assert!(same(None, Some(&Value::Null)));
}

#[test]
fn keeps_also_what_is_absent() {
    let mut new = json!({"status": {"a": 1}, "spec": 1});
    keep(&mut new, &json!({"spec": 2}), "status");
    keep(&mut new, &json!({"spec": 2}), "spec");
    assert_eq!(new, json!({"spec": 2}));
}
