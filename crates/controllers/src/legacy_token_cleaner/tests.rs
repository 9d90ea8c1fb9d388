use serde_json::{Value, json};

use super::*;
use crate::fixtures::{now, object};

fn limit() -> Timestamp {
    now()
        .checked_sub(SignedDuration::from_hours(24 * 365))
        .expect("a time")
}

fn secret(created: &str, labels: Value) -> Secret {
    object(json!({
        "metadata": {"namespace": "x", "name": "token", "uid": "t", "creationTimestamp": created, "labels": labels,
            "annotations": {"kubernetes.io/service-account.name": "bot", "kubernetes.io/service-account.uid": "b"}},
        "type": TYPE,
    }))
}

#[test]
fn old_tokens_that_nobody_uses_are_unused() {
    let old = "2027-01-01T00:00:00Z";
    for (created, used, expected) in [
        (old, None, true),
        (old, Some("2028-06-01"), true),
        (old, Some("2028-12-31"), true),
        // The day of the limit counts as used.
        (old, Some("2029-01-01"), false),
        (old, Some("2029-12-31"), false),
        (old, Some("some day"), false),
        ("2029-01-01T12:00:00Z", None, false),
        ("2029-12-31T00:00:00Z", None, false),
    ] {
        let labels = match used {
            Some(used) => json!({legacy::LAST_USED: used}),
            None => json!({}),
        };
        let secret = secret(created, labels);
        assert_eq!(is_unused(&secret, limit()), expected, "{created} {used:?}");
    }
    let mut leaving = secret(old, json!({}));
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    assert!(!is_unused(&leaving, limit()));
}

#[test]
fn a_token_is_marked_before_it_is_deleted() {
    for (since, expected) in [
        (None, Verdict::Mark),
        (Some("yesterday"), Verdict::Mark),
        (Some("2028-12-31"), Verdict::Delete),
        (Some("2029-01-01"), Verdict::Keep),
        (Some("2029-12-31"), Verdict::Keep),
    ] {
        let labels = match since {
            Some(since) => json!({legacy::INVALID_SINCE: since}),
            None => json!({}),
        };
        let secret = secret("2020-01-01T00:00:00Z", labels);
        assert_eq!(verdict(&secret, limit()), expected, "{since:?}");
    }
}

#[test]
fn nothing_is_done_before_uses_were_noted_for_long_enough() {
    for (data, expected) in [
        (json!({"since": "2028-12-30"}), true),
        (json!({"since": "2028-12-31"}), true),
        (json!({"since": "2029-01-01"}), false),
        (json!({"since": "2029-12-31"}), false),
        (json!({"since": "never"}), false),
        (json!({}), false),
        (json!(null), false),
    ] {
        let map: ConfigMap = object(json!({"metadata": {"name": "m"}, "data": data}));
        assert_eq!(is_tracked(&map, limit()), expected, "{data}");
    }
}

#[test]
fn tokens_that_people_made_are_theirs() {
    let secret = secret("2020-01-01T00:00:00Z", json!({}));
    for (uid, listed, expected) in [
        ("b", json!([{"name": "other"}, {"name": "token"}]), true),
        ("b", json!([{"name": "other"}]), false),
        ("b", json!(null), false),
        ("another", json!([{"name": "token"}]), false),
    ] {
        let account: ServiceAccount =
            object(json!({"metadata": {"name": "bot", "uid": uid}, "secrets": listed}));
        assert_eq!(is_generated(&secret, &account), expected, "{uid} {listed}");
    }
}

#[test]
fn what_a_pod_uses_is_in_use() {
    let named = json!({"name": "token"});
    let volume = |source: Value| json!({"containers": [], "volumes": [source]});
    let env = |env: Value| json!({"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": env}}]});
    for (spec, expected) in [
        (json!({"containers": []}), false),
        (json!({"containers": [], "imagePullSecrets": [named]}), true),
        (
            volume(json!({"name": "v", "secret": {"secretName": "token"}})),
            true,
        ),
        (
            volume(json!({"name": "v", "secret": {"secretName": "other"}})),
            false,
        ),
        (
            volume(json!({"name": "v", "projected": {"sources": [{"secret": named}]}})),
            true,
        ),
        (
            volume(json!({"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": named}})),
            true,
        ),
        (
            volume(json!({"name": "v", "azureFile": {"shareName": "s", "secretName": "token"}})),
            true,
        ),
        (volume(json!({"name": "v", "configMap": named})), false),
        (
            json!({"containers": [{"name": "c", "envFrom": [{"secretRef": named}]}]}),
            true,
        ),
        (
            json!({"containers": [env(json!({"name": "token", "key": "k"}))]}),
            true,
        ),
        (
            json!({"containers": [], "initContainers": [env(json!({"name": "token", "key": "k"}))]}),
            true,
        ),
        (
            json!({"containers": [], "ephemeralContainers": [env(json!({"name": "token", "key": "k"}))]}),
            true,
        ),
        (
            json!({"containers": [env(json!({"name": "other", "key": "k"}))]}),
            false,
        ),
    ] {
        let pod: Pod = object(json!({"metadata": {"name": "p"}, "spec": spec}));
        assert_eq!(uses(&pod, "token"), expected, "{spec}");
    }
}
