use serde_json::{Value, json};

use super::*;

mod cases;
mod json_patch;

/// Like upstream's test type: recursive, with a field of every sort.
struct Item {
    merge_key: Option<&'static str>,
    strategies: &'static [Strategy],
    element: Option<&'static Item>,
    fields: bool,
}

static ITEM: Item = Item {
    merge_key: None,
    strategies: &[],
    element: None,
    fields: true,
};
static SCALAR: Item = Item {
    merge_key: None,
    strategies: &[],
    element: None,
    fields: false,
};
static MERGING_LIST: Item = Item {
    merge_key: Some("name"),
    strategies: &[Strategy::Merge],
    element: Some(&ITEM),
    fields: false,
};
static LIST: Item = Item {
    merge_key: None,
    strategies: &[],
    element: Some(&ITEM),
    fields: false,
};
static MERGING_SCALARS: Item = Item {
    merge_key: None,
    strategies: &[Strategy::Merge],
    element: Some(&SCALAR),
    fields: false,
};
static SCALARS: Item = Item {
    merge_key: None,
    strategies: &[],
    element: Some(&SCALAR),
    fields: false,
};
static REPLACING: Item = Item {
    merge_key: None,
    strategies: &[Strategy::Replace],
    element: None,
    fields: true,
};
static RETAIN: Item = Item {
    merge_key: None,
    strategies: &[Strategy::RetainKeys],
    element: None,
    fields: true,
};
static RETAIN_LIST: Item = Item {
    merge_key: Some("name"),
    strategies: &[Strategy::Merge, Strategy::RetainKeys],
    element: Some(&ITEM),
    fields: false,
};

impl PatchSchema for Item {
    fn field(&self, name: &str) -> Option<&dyn PatchSchema> {
        let field: &Item = match name {
            _ if !self.fields => return None,
            "mergingList" => &MERGING_LIST,
            "nonMergingList" => &LIST,
            "mergingIntList" => &MERGING_SCALARS,
            "nonMergingIntList" => &SCALARS,
            "mergeItemPtr" => &MERGING_LIST,
            "replacingItem" => &REPLACING,
            "retainKeysMap" => &RETAIN,
            "retainKeysMergingList" => &RETAIN_LIST,
            _ => &SCALAR,
        };
        Some(field)
    }

    fn element(&self) -> Option<&dyn PatchSchema> {
        self.element.map(|element| element as &dyn PatchSchema)
    }

    fn merge_key(&self) -> Option<&str> {
        self.merge_key
    }

    fn strategies(&self) -> &[Strategy] {
        self.strategies
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn check_all(cases: &[cases::Case]) {
    for (original, patch, expected) in cases {
        match strategic(&parse(original), &parse(patch), &ITEM) {
            Ok(result) => assert_eq!(result, parse(expected), "{patch} applied to {original}"),
            Err(error) => panic!("{patch} applied to {original}: {error:?}"),
        }
    }
}

#[test]
fn strategic_objects() {
    check_all(cases::OBJECTS);
}

#[test]
fn strategic_lists() {
    check_all(cases::LISTS);
}

#[test]
fn strategic_scalars() {
    check_all(cases::SCALARS);
}

#[test]
fn strategic_order() {
    check_all(cases::ORDER);
}

#[test]
fn strategic_retain_keys() {
    check_all(cases::RETAIN_KEYS);
}

#[test]
fn strategic_errors() {
    let rows = [
        // The patch's order contradicts the order directive.
        (
            r#"{"mergingList":[{"name":1},{"name":3}]}"#,
            r#"{"$setElementOrder/mergingList":[{"name":1},{"name":3}],"mergingList":[{"name":3,"value":3},{"name":1,"value":1}]}"#,
            500,
            "The order in patch list:\n[map[name:3 value:3] map[name:1 value:1]]\n doesn't match $setElementOrder list:\n[map[name:1] map[name:3]]\n",
        ),
        (
            r#"{"mergingList":[{"name":1,"value":"a"}]}"#,
            r#"{"mergingList":[{"value":"b"}]}"#,
            500,
            "map: map[value:b] does not contain declared merge key: name",
        ),
        (
            r#"{"name":"a"}"#,
            r#"{"$patch":"shred","name":"b"}"#,
            500,
            "unknown patch type: shred in map: map[$patch:shred name:b]",
        ),
        (
            r#"{"name":"a"}"#,
            r#"{"$retainKeys":["value"],"name":"b"}"#,
            400,
            "invalid patch format of retainKeys",
        ),
        (
            r#"{"name":"a"}"#,
            r#"{"$deleteFromPrimitiveList":[1]}"#,
            400,
            "invalid patch format of primitive list",
        ),
        (
            r#"{"mergingIntList":[1]}"#,
            r#"{"mergingIntList":["a"]}"#,
            500,
            "list element types are not identical: [[1] [a]]",
        ),
        (
            r#"{"mergingIntList":[[1]]}"#,
            r#"{"mergingIntList":[[2]]}"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            r#"{"name":"a"}"#,
            "[]",
            400,
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            r#"{"mergingList":[{"name":1}]}"#,
            r#"{"$setElementOrder/mergingList":{"name":1}}"#,
            500,
            "expected a []interface {}, but received a map[string]interface {}",
        ),
    ];
    for (original, patch, code, message) in rows {
        let error = strategic(&parse(original), &parse(patch), &ITEM).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (code, message),
            "{patch}"
        );
    }
}

#[test]
fn strategic_of_untyped_values_merges_objects_and_replaces_lists() {
    let original = json!({"name": {"deep": {"a": 1, "b": [1, 2]}}});
    let patch = json!({"name": {"deep": {"a": null, "b": [3], "c": {"d": null}}}});
    assert_eq!(
        strategic(&original, &patch, &ITEM).unwrap(),
        json!({"name": {"deep": {"b": [3], "c": {}}}})
    );
}

/// Lists as long as a body can hold: quadratic work would take minutes.
#[test]
fn strategic_lists_cost_what_they_are_long() {
    const LONG: usize = 60_000;
    let started = std::time::Instant::now();
    let finalizers = |from: usize| -> Vec<Value> {
        (from..from + LONG)
            .map(|n| Value::from(format!("a.io/{n}")))
            .collect()
    };
    let objects = |from: usize| -> Vec<Value> {
        let element = |n: usize| json!({"name": n.to_string(), "image": "i"});
        (from..from + LONG).map(element).collect()
    };
    let original = json!({"mergingIntList": finalizers(0), "mergingList": objects(0)});
    let mut deletions = objects(LONG / 2);
    for element in &mut deletions[..LONG / 4] {
        element["$patch"] = "delete".into();
    }
    let order: Vec<Value> = deletions[LONG / 4..].to_vec();
    let patch = json!({
        "mergingIntList": finalizers(LONG / 2),
        "$deleteFromPrimitiveList/mergingIntList": finalizers(LONG),
        "mergingList": deletions,
        "$setElementOrder/mergingList": order,
        "$retainKeys": ["mergingIntList", "mergingList"],
    });
    let merged = strategic(&original, &patch, &ITEM).expect("a patch that applies");
    assert_eq!(
        merged["mergingList"].as_array().map(Vec::len),
        Some(LONG + LONG / 4)
    );
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn merge_patch_is_rfc_7386() {
    let mut object = json!({"a": {"b": 1, "c": 2}, "list": [1, {"x": 1}], "gone": true});
    merge(
        &mut object,
        &json!({"a": {"b": null, "d": {"e": null}}, "list": [2], "gone": null}),
    )
    .unwrap();
    assert_eq!(object, json!({"a": {"c": 2, "d": {}}, "list": [2]}));
    assert_eq!(merge(&mut object, &json!([1])).unwrap_err().code, 400);
}

#[test]
fn a_patch_is_shown_as_merging_leaves_it() {
    let patch = json!({
        "$setElementOrder/list": [{"name": "a"}], "list": [{"name": "a"}],
        "$deleteFromPrimitiveList/finalizers": ["x"],
        "spec": {"$retainKeys": ["n"], "n": 1, "text": "a b", "none": null, "all": [true, "x"]},
    });
    assert_eq!(
        shown(&patch),
        "map[spec:map[all:[true x] n:1 none:<nil> text:a b]]"
    );
}
