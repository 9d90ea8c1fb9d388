//! JSON patches.

use super::*;

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
