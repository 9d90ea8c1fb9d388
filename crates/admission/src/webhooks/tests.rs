mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use knarr_api::{Kinds, built_in};
use knarr_audit::Annotations;
use knarr_auth::{UserInfo, authz::Authz, testing::Fake};
use knarr_webhook::testing::{Reaction, Server, allow, patch, refuse};
use serde_json::json;
use tokio::time::Instant;

use self::world::{GROUP, World, hook, told};
use super::*;
use crate::{
    Warnings,
    reinvocation::Reinvocation,
    request::{AdmissionPlugin, Operation},
};

#[tokio::test]
async fn a_webhook_sees_the_request_and_allows_or_refuses_it() {
    let server = Server::start(&[], |_, review| {
        let request = &review["request"];
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(
            request["kind"],
            json!({"group": "", "version": "v1", "kind": "ConfigMap"})
        );
        let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
        assert_eq!(
            (&request["resource"], &request["requestResource"]),
            (&resource, &resource)
        );
        assert_eq!(
            (&request["name"], &request["namespace"]),
            (&json!("a"), &json!("ns"))
        );
        assert_eq!(
            (&request["operation"], &request["oldObject"]),
            (&json!("CREATE"), &Value::Null)
        );
        assert_eq!(request["dryRun"], false);
        Reaction::Answer(match request["object"]["data"]["say"].as_str() {
            Some("no") => refuse(
                review,
                json!({"status": {
                    "message": "not so", "reason": "Because", "code": 422,
                    "details": {"causes": [{"message": "m"}]},
                }}),
            ),
            Some("code") => refuse(
                review,
                json!({"status": {"code": 200, "reason": "Because"}}),
            ),
            Some("nothing") => refuse(review, json!({})),
            _ => allow(
                review,
                json!({"warnings": ["beware"], "auditAnnotations": {"a": "b"}}),
            ),
        })
    })
    .await;
    let world = World::new();
    world.validate_with("c", &[hook(&server, "v", json!({}))]);
    let allowed = world
        .create(json!({"say": "yes"}))
        .await
        .expect("is allowed");
    assert_eq!(allowed.warnings, ["beware"]);
    let refused = world
        .create(json!({"say": "no"}))
        .await
        .expect_err("is refused");
    let prefix = "admission webhook \"v.example.com\" denied the request";
    assert_eq!(told(&refused), format!("422 {prefix}: not so"));
    assert_eq!(refused.reason.as_str(), "Because");
    assert_eq!(refused.details.map(|details| details.causes.len()), Some(1));
    let refused = world
        .create(json!({"say": "code"}))
        .await
        .expect_err("is refused");
    assert_eq!(told(&refused), format!("400 {prefix}: Because"));
    let refused = world
        .create(json!({"say": "nothing"}))
        .await
        .expect_err("is refused");
    assert_eq!(told(&refused), format!("400 {prefix} without explanation"));
}

#[tokio::test]
async fn patches_are_applied_in_the_order_of_names() {
    let server = Server::start(&[], |path, review| {
        let step = &path[1..2];
        let data = &review["request"]["object"]["data"];
        let seen = data["seen"].as_str().unwrap_or_default();
        let operations = json!([
            {"op": "add", "path": "/data/seen", "value": format!("{seen}{step}")},
            {"op": "add", "path": "/unknown", "value": 1},
        ]);
        Reaction::Answer(allow(review, patch(&operations)))
    })
    .await;
    let world = World::new();
    world.mutate_with("b", &[hook(&server, "3", json!({}))]);
    world.mutate_with(
        "a",
        &[hook(&server, "1", json!({})), hook(&server, "2", json!({}))],
    );
    let done = world.create(json!({})).await.expect("is allowed");
    assert_eq!(done.object["data"]["seen"], "123");
    assert!(
        done.object.get("unknown").is_none(),
        "what the type does not know goes"
    );
}

#[tokio::test]
async fn who_wants_it_is_asked_again_after_others_have_changed_the_object() {
    let server = Server::start(&[], |path, review| {
        let name = path
            .trim_start_matches('/')
            .split('?')
            .next()
            .unwrap_or_default();
        let data = &review["request"]["object"]["data"];
        let count = data[name].as_str().unwrap_or_default();
        let operations =
            json!([{"op": "add", "path": format!("/data/{name}"), "value": format!("{count}x")}]);
        Reaction::Answer(allow(review, patch(&operations)))
    })
    .await;
    let world = World::new();
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    world.mutate_with(
        "a",
        &[
            hook(&server, "again", again),
            hook(&server, "once", json!({})),
        ],
    );
    let done = world.create(json!({})).await.expect("is allowed");
    assert_eq!(done.object["data"], json!({"again": "xx", "once": "x"}));
}

#[tokio::test]
async fn a_failure_refuses_or_is_ignored_as_the_policy_says() {
    let server = Server::start(&[], |path, review| match path.split('?').next() {
        Some("/hang") => Reaction::Hang,
        Some("/large") => Reaction::Bytes(StatusCode::OK, vec![b'x'; 10 << 20]),
        Some("/uid") => {
            let mut answer = allow(review, json!({}));
            answer["response"]["uid"] = json!("other");
            Reaction::Answer(answer)
        }
        Some("/absent") => Reaction::Answer(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"})),
        Some("/kind") => Reaction::Answer(json!({"kind": "Pod", "apiVersion": "v1", "response": {"uid": review["request"]["uid"], "allowed": true}})),
        Some("/typeless") => Reaction::Answer(json!({"response": {"uid": review["request"]["uid"], "allowed": true}})),
        Some("/beta") => Reaction::Answer(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"})),
        Some("/map") => Reaction::Answer(allow(review, json!({"patchType": "JSONPatch", "patch": "e30="}))),
        Some("/json") => Reaction::Bytes(StatusCode::OK, b"<html>".to_vec()),
        Some("/patch") => Reaction::Answer(allow(review, json!({"patchType": "JSONPatch", "patch": "bm90IGpzb24="}))),
        Some("/untyped") => Reaction::Answer(allow(review, json!({"patch": "W10="}))),
        Some("/merge") => Reaction::Answer(allow(review, json!({"patchType": "Merge", "patch": "W3t9XQ=="}))),
        _ => Reaction::Bytes(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    })
    .await;
    let prefix = |name: &str| {
        format!("500 Internal error occurred: failed calling webhook \"{name}.example.com\": ")
    };
    for (name, why) in [
        (
            "large",
            "failed to call webhook: the answer is longer than 8388608 bytes",
        ),
        (
            "absent",
            "received invalid webhook response: webhook response was absent",
        ),
        (
            "kind",
            "failed to call webhook: no kind \"Pod\" is registered for version \"v1\" in scheme \"pkg/util/webhook/client.go:74\"",
        ),
        (
            "typeless",
            "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
        ),
        (
            "beta",
            "failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
        ),
        (
            "map",
            "received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ),
        (
            "untyped",
            "received invalid webhook response: webhook returned response.patch but not response.patchType",
        ),
        ("merge", "unsupported patch type \"Merge\""),
        (
            "other",
            "failed to call webhook: an error on the server (\"\") has prevented the request from succeeding",
        ),
    ] {
        let world = World::new();
        world.mutate_with(
            "a",
            &[hook(&server, name, json!({"failurePolicy": "Fail"}))],
        );
        let error = world.create(json!({})).await.expect_err("fails");
        assert_eq!(told(&error), prefix(name) + why);
    }
    for (name, why) in [
        (
            "uid",
            "received invalid webhook response: expected response.uid=",
        ),
        (
            "json",
            "failed to call webhook: couldn't get version/kind; json parse error: ",
        ),
        ("patch", "received undecodable patch in webhook response: "),
    ] {
        let world = World::new();
        world.mutate_with(
            "a",
            &[hook(&server, name, json!({"failurePolicy": "Fail"}))],
        );
        let error = told(&world.create(json!({})).await.expect_err("fails"));
        assert!(error.starts_with(&(prefix(name) + why)), "{error}");
        world.mutate_with(
            "a",
            &[hook(&server, name, json!({"failurePolicy": "Ignore"}))],
        );
        world
            .create(json!({}))
            .await
            .expect("the failure is ignored");
    }
    let world = World::new();
    let hanging = json!({"timeoutSeconds": 1});
    world.validate_with(
        "a",
        &[
            hook(&server, "hang", hanging.clone()),
            hook(&server, "hang", hanging),
        ],
    );
    let before = Instant::now();
    let error = told(&world.create(json!({})).await.expect_err("fails"));
    assert!(
        error.ends_with("?timeout=1s\": context deadline exceeded"),
        "{error}"
    );
    assert!(before.elapsed() < Duration::from_secs(15), "both at once");
}

#[tokio::test]
async fn a_patch_that_cannot_be_applied_refuses_whatever_the_policy() {
    let server = Server::start(&[], |path, review| {
        let operations = match path.starts_with("/type") {
            true => json!([{"op": "add", "path": "/data", "value": 5}]),
            false => json!([{"op": "remove", "path": "/nothing/here"}]),
        };
        Reaction::Answer(allow(review, patch(&operations)))
    })
    .await;
    for name in ["type", "lost"] {
        let world = World::new();
        world.mutate_with(
            "a",
            &[hook(&server, name, json!({"failurePolicy": "Ignore"}))],
        );
        let error = world.create(json!({})).await.expect_err("fails");
        assert_eq!(error.code, 500, "{error}");
    }
}

#[tokio::test]
async fn a_dry_run_calls_only_who_has_no_side_effects() {
    let server = Server::start(&[], |_, review| {
        assert_eq!(review["request"]["dryRun"], true);
        Reaction::Answer(allow(review, json!({})))
    })
    .await;
    let world = World::new();
    world.validate_with(
        "a",
        &[hook(&server, "v", json!({"sideEffects": "NoneOnDryRun"}))],
    );
    world
        .write("configmaps", json!({}), true)
        .await
        .expect("is allowed");
    let some = json!({"sideEffects": "Some", "failurePolicy": "Ignore"});
    world.validate_with("a", &[hook(&server, "v", some)]);
    let error = world
        .write("configmaps", json!({}), true)
        .await
        .expect_err("is refused");
    assert_eq!(
        told(&error),
        "400 admission webhook \"v.example.com\" does not support dry run"
    );
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_condition_decides_before_anybody_is_called() {
    let server = Server::start(&[], |_, review| Reaction::Answer(refuse(review, json!({})))).await;
    let with = |expression: &str, policy: &str| {
        let conditions = json!([{"name": "c", "expression": expression}]);
        hook(
            &server,
            "v",
            json!({"matchConditions": conditions, "failurePolicy": policy}),
        )
    };
    let world = World::new();
    for (expression, policy, wanted) in [
        ("object.metadata.name != 'a'", "Fail", None),
        (
            "object.metadata.name == 'a'",
            "Fail",
            Some("400 admission webhook"),
        ),
        ("object.nothing == 1", "Ignore", None),
        (
            "object.nothing == 1",
            "Fail",
            Some(
                "403 configmaps \"a\" is forbidden: expression 'object.nothing == 1' resulted in error: no such key: nothing",
            ),
        ),
    ] {
        world.validate_with("a", &[with(expression, policy)]);
        let result = world.create(json!({})).await;
        match wanted {
            None => assert!(result.is_ok(), "{expression}"),
            Some(start) => {
                let error = told(&result.expect_err("is refused"));
                assert!(error.starts_with(start), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn configurations_and_reviews_are_not_judged() {
    let server = Server::start(&[], |_, review| Reaction::Answer(refuse(review, json!({})))).await;
    let world = World::new();
    world.validate_with("a", &[hook(&server, "v", json!({}))]);
    world.mutate_with("a", &[hook(&server, "m", json!({}))]);
    world
        .write("validatingwebhookconfigurations", json!({}), false)
        .await
        .expect("is not judged");
    assert!(world.create(json!({})).await.is_err());
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_changed_configuration_is_in_force_at_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let server = Server::start(&[], move |_, review| {
        counted.fetch_add(1, Ordering::Relaxed);
        Reaction::Answer(allow(review, json!({})))
    })
    .await;
    let world = World::new();
    world.create(json!({})).await.expect("nobody is asked");
    world.validate_with("a", &[hook(&server, "v", json!({}))]);
    world.create(json!({})).await.expect("is allowed");
    world.validate_with("a", &[]);
    world.create(json!({})).await.expect("nobody is asked");
    world.validate_with(
        "b",
        &[hook(&server, "v", json!({})), hook(&server, "w", json!({}))],
    );
    world
        .objects
        .remove(GROUP, "validatingwebhookconfigurations", "", "a");
    world.create(json!({})).await.expect("is allowed");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn old_webhooks_answer_in_their_version() {
    let server = Server::start(&[], |_, review| {
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1beta1");
        Reaction::Answer(json!({"response": {"allowed": true, "patch": "W10="}}))
    })
    .await;
    let world = World::new();
    let old = json!({"admissionReviewVersions": ["v2", "v1beta1"]});
    world.mutate_with("a", &[hook(&server, "m", old)]);
    world.create(json!({})).await.expect("is allowed");
    world.mutate_with(
        "a",
        &[hook(
            &server,
            "m",
            json!({"admissionReviewVersions": ["v2"]}),
        )],
    );
    let error = told(&world.create(json!({})).await.expect_err("fails"));
    assert!(
        error.contains("does not accept known AdmissionReview versions (v1, v1beta1)"),
        "{error}"
    );
}
