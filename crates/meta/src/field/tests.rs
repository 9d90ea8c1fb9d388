use serde_json::json;

use super::{Error, Path, aggregate, quote};

#[test]
fn paths() {
    let path = Path::new("spec")
        .child("containers")
        .index(0)
        .child("env")
        .key("A");
    assert_eq!(path.to_string(), "spec.containers[0].env[A]");
    assert_eq!(Path::root().to_string(), "");
    assert_eq!(Path::root().index(2).child("a").to_string(), "[2].a");
}

#[test]
fn wording() {
    let path = Path::new("f");
    let cases = [
        (Error::required(&path, ""), "f: Required value"),
        (
            Error::required(&path, "say it"),
            "f: Required value: say it",
        ),
        (
            Error::invalid(&path, "a\"b", "no"),
            "f: Invalid value: \"a\\\"b\": no",
        ),
        (Error::invalid(&path, 5, "no"), "f: Invalid value: 5: no"),
        (
            Error::invalid(&path, json!(null), "no"),
            "f: Invalid value: null: no",
        ),
        (
            Error::invalid(&path, json!({"a": 1}), "no"),
            "f: Invalid value: {\"a\":1}: no",
        ),
        (
            Error::not_supported(&path, "x", &["A", "B"]),
            "f: Unsupported value: \"x\": supported values: \"A\", \"B\"",
        ),
        (Error::duplicate(&path, "x"), "f: Duplicate value: \"x\""),
        (Error::forbidden(&path, "no"), "f: Forbidden: no"),
        (
            Error::too_long(&path, 3),
            "f: Too long: may not be more than 3 bytes",
        ),
        (
            Error::too_many(&path, 4, 3),
            "f: Too many: 4: must have at most 3 items",
        ),
        (Error::not_found(&path, "v"), "f: Not found: \"v\""),
    ];
    for (error, expected) in &cases {
        assert_eq!(error.to_string(), *expected);
    }
    let (first, second) = (&cases[0].0, &cases[8].0);
    let list = [first.clone(), second.clone(), first.clone()];
    assert_eq!(aggregate(&list), "[f: Required value, f: Forbidden: no]");
    assert_eq!(aggregate(&list[..1]), "f: Required value");
}

#[test]
fn quotes_as_go() {
    assert_eq!(quote("a\n\t\u{1}\u{7f}é"), "\"a\\n\\t\\x01\\x7fé\"");
}
