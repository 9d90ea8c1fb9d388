use serde_json::{Value, json};

use super::*;

mod cases;

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
fn json_patch_applies_every_operation() {
    let mut object = json!({"metadata": {"labels": {"a/b": "c"}}, "list": [1, 2]});
    let patch = br#"[
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "c"},
        {"op": "add", "path": "/list/-", "value": 3},
        {"op": "replace", "path": "/list/0", "value": 0},
        {"op": "copy", "from": "/list", "path": "/copy"},
        {"op": "move", "from": "/metadata/labels", "path": "/labels"},
        {"op": "remove", "path": "/list/1"}
    ]"#;
    json(&mut object, patch).unwrap();
    assert_eq!(
        object,
        json!({"metadata": {}, "labels": {"a/b": "c"}, "list": [0, 3], "copy": [0, 2, 3]})
    );
}

/// What is no JSON patch by its RFC, and works with upstream's library.
#[test]
fn json_patches_may_be_as_lax_as_upstreams() {
    let before = json!({"a": {"b": 1}, "list": [1, 2, 3], "none": null});
    let rows = [
        (
            json!([{"op": "replace", "path": "/a/c", "value": 2}]),
            json!({"a": {"b": 1, "c": 2}, "list": [1, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "remove", "path": "/list/-1"}]),
            json!({"a": {"b": 1}, "list": [1, 2], "none": null}),
        ),
        (
            json!([{"op": "add", "path": "/list/-1", "value": 4}]),
            json!({"a": {"b": 1}, "list": [1, 2, 3, 4], "none": null}),
        ),
        (
            json!([{"op": "add", "path": "/list/-4", "value": 0}]),
            json!({"a": {"b": 1}, "list": [0, 1, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "replace", "path": "/list/-3", "value": 0}]),
            json!({"a": {"b": 1}, "list": [0, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "add", "path": "/list/01", "value": 5}]),
            json!({"a": {"b": 1}, "list": [1, 5, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "replace", "path": "/a/b"}]),
            json!({"a": {"b": null}, "list": [1, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "copy", "from": "/nope", "path": "/a/b"}]),
            json!({"a": {"b": null}, "list": [1, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "test", "path": "/nope"}, {"op": "test", "path": "/none", "value": null}]),
            before.clone(),
        ),
        (
            json!([{"op": "test", "path": "", "value": before}]),
            before.clone(),
        ),
        (
            json!([{"op": "remove", "path": "a/b"}]),
            json!({"a": {"b": 1}, "list": [1, 2, 3], "none": null}),
        ),
        (
            json!([{"op": "replace", "path": "", "value": {}}]),
            json!({}),
        ),
        (
            json!([{"op": "move", "from": "/list/-1", "path": "/list/0"}]),
            json!({"a": {"b": 1}, "list": [3, 1, 2], "none": null}),
        ),
        (Value::Null, before.clone()),
    ];
    for (patch, wanted) in rows {
        let mut object = before.clone();
        let bytes = serde_json::to_vec(&patch).unwrap();
        match json(&mut object, &bytes) {
            Ok(problems) => assert_eq!((object, problems), (wanted, vec![]), "{patch}"),
            // The one that names what is not there.
            Err(error) => assert_eq!((error.code, &patch[0]["path"]), (422, &json!("a/b"))),
        }
    }
    for patch in [
        json!([{"op": "remove", "path": "/list/-4"}]),
        json!([{"op": "add", "path": "/list/5", "value": 1}]),
        json!([{"op": "add", "path": "/list/-5", "value": 1}]),
        json!([{"op": "add", "path": "", "value": {}}]),
        json!([{"op": "copy", "from": "/list/3", "path": "/a"}]),
        json!([{"op": "replace", "path": "/list/x", "value": 1}]),
        json!([{"op": "remove"}]),
        json!([null]),
    ] {
        let mut object = before.clone();
        let error = json(&mut object, &serde_json::to_vec(&patch).unwrap()).unwrap_err();
        assert_eq!((error.code, &object), (422, &before), "{patch}");
    }
    let noted = json!([{"op": "test", "path": "/a/b", "value": 1, "note": "x"}]);
    let problems = json(&mut before.clone(), &serde_json::to_vec(&noted).unwrap()).unwrap();
    assert_eq!(problems, ["json patch unknown field \"[0].note\""]);
    let escaped = json!([{"op": "add", "path": "/~01~1~", "value": 1}]);
    let mut object = json!({});
    json(&mut object, &serde_json::to_vec(&escaped).unwrap()).unwrap();
    assert_eq!(object, json!({"~1/~": 1}));
}

#[test]
fn json_patch_errors_leave_the_object_alone() {
    let before = json!({"a": 1, "text": "x".repeat(1024 * 1024)});
    let many = format!(
        "[{}]",
        vec![r#"{"op":"remove","path":"/a"}"#; MAX_JSON_PATCH_OPERATIONS + 1].join(",")
    );
    let copies = format!(
        "[{}]",
        [r#"{"op":"copy","from":"/text","path":"/b"}"#; 4].join(",")
    );
    let rows: [(&str, u16, &str); 7] = [
        (r#"{"op":"remove"}"#, 400, "error decoding patch"),
        (r#"[{"op":1}]"#, 400, "error decoding patch"),
        (
            r#"[{"op":"shred","path":"/a"}]"#,
            422,
            "the server rejected",
        ),
        (
            &many,
            413,
            "The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
        (
            &copies,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]"#,
            422,
            "the server rejected",
        ),
        (
            r#"[{"op":"test","path":"/a","value":2}]"#,
            422,
            "the server rejected",
        ),
    ];
    for (patch, code, message) in rows {
        let mut object = before.clone();
        let error = json(&mut object, patch.as_bytes()).unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(object, before);
    }
    assert_eq!(check_size(MAX_PATCH_BYTES + 1).unwrap_err().code, 413);
}

#[test]
fn a_test_that_fails_is_no_error_where_it_is_not_wanted_as_one() {
    let before = json!({"a": 1});
    let rows = [
        (
            json!([{"op": "add", "path": "/b", "value": 2}]),
            Ok(json!({"a": 1, "b": 2})),
        ),
        (
            json!([{"op": "add", "path": "/b", "value": 2}, {"op": "test", "path": "/a", "value": 2}]),
            Ok(before.clone()),
        ),
        (
            json!([{"op": "test", "path": "/c", "value": 2}, {"op": "remove", "path": "/a"}]),
            Ok(before.clone()),
        ),
        (
            json!([{"op": "test", "path": "/b", "value": null}, {"op": "add", "path": "/b", "value": ["f"]}]),
            Ok(json!({"a": 1, "b": ["f"]})),
        ),
        (
            json!([{"op": "test", "path": "/a", "value": null}, {"op": "remove", "path": "/a"}]),
            Ok(before.clone()),
        ),
        (
            json!([{"op": "test", "path": "/c/d", "value": null}]),
            Err("test operation does not apply: is missing path: /c/d: missing value"),
        ),
        (
            json!([{"op": "test", "path": "/c/d", "value": 2}]),
            Err("test operation does not apply: is missing path: /c/d: missing value"),
        ),
        (
            json!([{"op": "add", "path": "/c/d", "value": 2}]),
            Err("add operation does not apply: doc is missing path: \"/c/d\": missing value"),
        ),
        (
            json!([{"op": "remove", "path": "/c"}]),
            Err(
                "error in remove for path: '/c': Unable to remove nonexistent key: c: missing value",
            ),
        ),
        (
            json!([{"op": "replace", "path": "/c/d", "value": 2}]),
            Err("replace operation does not apply: doc is missing path: /c/d: missing value"),
        ),
    ];
    for (patch, wanted) in rows {
        let mut object = before.clone();
        let result = json_unless_test_fails(&mut object, patch.clone()).map(|()| object);
        assert_eq!(result, wanted.map_err(str::to_owned), "{patch}");
    }
}

#[test]
fn json_patch_cannot_nest_without_end() {
    // Each operation puts the whole object into its own deepest place.
    let mut path = String::new();
    let operations: Vec<String> = (0..14)
        .map(|round| {
            path = "/a".repeat(1 << round);
            format!(r#"{{"op":"copy","from":"/r","path":"/r{path}"}}"#)
        })
        .collect();
    for rounds in [8, 14] {
        let before = json!({"r": {"a": 1}});
        let mut object = before.clone();
        let patch = format!("[{}]", operations[..rounds].join(","));
        let error = json(&mut object, patch.as_bytes()).unwrap_err();
        assert_eq!((error.code, object), (422, before), "{rounds} rounds");
    }
    let mut object = json!({"r": {"a": 1}});
    let patch = format!("[{}]", operations[..6].join(","));
    json(&mut object, patch.as_bytes()).unwrap();
    assert_eq!(depth(&object), 65);
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

/// Short patches that are much work: shifting a long list again and again, and walking what copies have made large.
#[test]
fn json_patches_pay_for_what_they_walk() {
    let mut object = json!({"list": vec![0; 1_000]});
    let before = object.clone();
    let front = json!({"op": "add", "path": "/list/0", "value": 1});
    let patch = serde_json::to_vec(&vec![front; 9_000]).unwrap();
    assert_eq!(json(&mut object, &patch).unwrap_err().code, 422);
    assert_eq!(object, before);
    let behind = json!({"op": "add", "path": "/list/-", "value": 1});
    let patch = serde_json::to_vec(&vec![behind; 9_000]).unwrap();
    json(&mut object, &patch).unwrap();
    // Empty lists are little as JSON, and much in memory.
    let mut object = json!({"a": vec![json!([]); 50_000]});
    let copy = json!({"op": "copy", "from": "/a", "path": "/b"});
    let patch = serde_json::to_vec(&vec![copy; 3]).unwrap();
    assert_eq!(json(&mut object, &patch).unwrap_err().code, 422);
}
