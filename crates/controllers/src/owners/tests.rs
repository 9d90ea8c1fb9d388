use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod};

fn owner(more: Value) -> ObjectMeta {
    let mut meta = json!({"namespace": "x", "name": "web", "uid": "me"});
    crate::fixtures::merge(&mut meta, more);
    object(meta)
}

fn owned_by(uid: &str) -> Value {
    json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": uid, "controller": true},
    ]}})
}

fn outcome(owner: &ObjectMeta, labels: Value, more: Value) -> &'static str {
    let mut all = json!({"metadata": {"labels": labels}});
    crate::fixtures::merge(&mut all, more);
    let selector = Selector::parse("app=web").expect("a selector");
    let claims = claim::<Pod>(owner, &selector, vec![pod("p", "n", all)]);
    match (claims.owned.len(), claims.adopt.len(), claims.release.len()) {
        (1, 0, 0) => "owned",
        (0, 1, 0) => "adopt",
        (0, 0, 1) => "release",
        (0, 0, 0) => "ignored",
        _ => "several",
    }
}

#[test]
fn claims() {
    let live = owner(json!({}));
    let dying = owner(json!({"deletionTimestamp": "2030-01-01T00:00:00Z"}));
    let deleted = json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}});
    let (web, db) = (json!({"app": "web"}), json!({"app": "db"}));
    let cases = [
        (&live, &web, owned_by("me"), "owned"),
        (&live, &db, owned_by("me"), "release"),
        (&live, &web, owned_by("other"), "ignored"),
        (&live, &web, json!({}), "adopt"),
        (&live, &db, json!({}), "ignored"),
        (&live, &web, deleted, "ignored"),
        (&dying, &web, owned_by("me"), "owned"),
        (&dying, &db, owned_by("me"), "ignored"),
        (&dying, &web, json!({}), "ignored"),
    ];
    for (owner, labels, more, expected) in cases {
        assert_eq!(
            outcome(owner, labels.clone(), more.clone()),
            expected,
            "{labels} {more}"
        );
    }
}

#[test]
fn candidates_are_the_controlled_and_the_orphans_of_the_namespace() {
    let informer = Informer::<Pod>::new();
    for (name, more) in [
        ("mine", owned_by("me")),
        ("other", owned_by("other")),
        ("orphan", json!({})),
    ] {
        informer.apply(Pod::clone(&pod(name, "n", more)));
    }
    informer.apply(Pod::clone(&pod(
        "elsewhere",
        "n",
        json!({"metadata": {"namespace": "y"}}),
    )));
    // Whoever makes a pod writes its references: this one is in another namespace than the uid it names.
    let mut foreign = owned_by("me");
    crate::fixtures::merge(&mut foreign, json!({"metadata": {"namespace": "y"}}));
    informer.apply(Pod::clone(&pod("foreign", "n", foreign)));
    let mut names: Vec<_> = candidates(&informer, "x", "me")
        .iter()
        .map(|p| p.name().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["mine", "orphan"]);
}
