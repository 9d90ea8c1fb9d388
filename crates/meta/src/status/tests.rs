use expect_test::{Expect, expect};
use serde_json::json;

use super::{Reason, Status, success};
use crate::{
    GroupKind, GroupResource,
    field::{Error, Path},
};

fn check(status: &Status, expected: Expect) {
    let text = String::from_utf8(status.to_json()).expect("utf-8");
    expected.assert_eq(&text);
    let back: Status = serde_json::from_str(&text).expect("a status");
    assert_eq!(&back, status);
}

#[test]
fn wire_form() {
    let deployments = GroupResource::new("apps", "deployments");
    check(
        &Status::not_found(&deployments, "web"),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" not found","reason":"NotFound","details":{"name":"web","group":"apps","kind":"deployments"},"code":404}"#
        ]],
    );
    check(
        &Status::modified(GroupResource::new("", "pods"), "a"),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the latest version and try again","reason":"Conflict","details":{"name":"a","kind":"pods"},"code":409}"#
        ]],
    );
    check(
        &Status::too_large_resource_version(9, 5, 1),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 9, current: 5","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}"#
        ]],
    );
    check(
        &Status::forbidden(
            GroupResource::default(),
            "",
            r#"User "u" cannot get path "/x""#,
        ),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"forbidden: User \"u\" cannot get path \"/x\"","reason":"Forbidden","details":{},"code":403}"#
        ]],
    );
}

#[test]
fn invalid_lists_causes_and_says_repeats_once() {
    let path = Path::new("spec").child("ports").index(0);
    let errors = vec![
        Error::required(&path.child("name"), ""),
        Error::invalid(
            &path.child("port"),
            0,
            "must be between 1 and 65535, inclusive",
        ),
        Error::required(&path.child("name"), ""),
    ];
    check(
        &Status::invalid(GroupKind::new("", "Service"), "s", errors),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Service \"s\" is invalid: [spec.ports[0].name: Required value, spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive]","reason":"Invalid","details":{"name":"s","kind":"Service","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.ports[0].name"},{"reason":"FieldValueInvalid","message":"Invalid value: 0: must be between 1 and 65535, inclusive","field":"spec.ports[0].port"},{"reason":"FieldValueRequired","message":"Required value","field":"spec.ports[0].name"}]},"code":422}"#
        ]],
    );
}

#[test]
fn unknown_reasons_survive() {
    let text = r#"{"kind":"Status","status":"Failure","reason":"NewOne","message":"m","code":418}"#;
    let status: Status = serde_json::from_str(text).expect("a status");
    assert_eq!(status.reason, Reason::Other("NewOne".to_owned()));
    assert_eq!(status.to_string(), "m");
    let done = success(&GroupResource::new("", "pods"), "a", "u-1");
    assert_eq!(done["status"], json!("Success"));
    assert!(serde_json::from_value::<Status>(done).is_err());
}
