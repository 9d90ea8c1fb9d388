use k8s_openapi::api::apps::v1::DaemonSet;

use super::*;
use crate::fixtures::object;

fn template(image: &str) -> PodTemplateSpec {
    object(json!({
        "metadata": {"labels": {"app": "agent"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }))
}

fn revision(name: &str, number: i64, image: &str) -> Arc<ControllerRevision> {
    Arc::new(object(json!({
        "metadata": {"name": name, "labels": {HASH_LABEL: format!("hash-{name}")}},
        "revision": number, "data": patch(&template(image)),
    })))
}

fn names(revisions: &[Arc<ControllerRevision>]) -> Vec<&str> {
    revisions.iter().map(|revision| name(revision)).collect()
}

#[test]
fn a_revision_is_a_patch_to_the_template() {
    let set: DaemonSet = object(json!({
        "metadata": {"name": "agent", "namespace": "x", "uid": "ds", "annotations": {"a": "b"}},
        "spec": {"selector": {}, "template": {}},
    }));
    let made = new(&set, &template("i"), HASH_LABEL, 4, None);
    let hash = hash_of(&made).to_owned();
    assert_eq!(
        serde_json::to_value(&made).expect("json"),
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": format!("agent-{hash}"), "namespace": "x", "annotations": {"a": "b"},
                "labels": {"app": "agent", HASH_LABEL: hash},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "ds",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "data": {"spec": {"template": {
                "$patch": "replace", "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }}},
            "revision": 4,
        })
    );
    let collided = new(&set, &template("i"), HASH_LABEL, 4, Some(1));
    assert_ne!(name(&made), name(&collided), "a collision is got out of");
    assert!(keeps(&collided, &patch(&template("i"))));
    assert!(!keeps(&collided, &patch(&template("j"))));
}

#[test]
fn history() {
    let history = History::new(
        vec![
            revision("c", 3, "i"),
            revision("a", 1, "i"),
            revision("e", 5, "k"),
            revision("b", 2, "j"),
            revision("d", 4, "l"),
        ],
        &patch(&template("i")),
    );
    assert_eq!(names(&history.current), ["a", "c"]);
    assert_eq!(names(&history.old), ["b", "d", "e"]);
    assert_eq!(history.number(), 6);
    assert_eq!(History::new(vec![], &Value::Null).number(), 1);
    for (limit, used, surplus) in [
        (Some(3), "", &[][..]),
        (None, "", &[]),
        (Some(2), "", &["b"]),
        (Some(2), "b", &["d"]),
        (Some(0), "d", &["b", "e"]),
        (Some(-1), "", &["b", "d", "e"]),
    ] {
        let found = history.surplus(limit, |revision| name(revision) == used);
        assert_eq!(names(&found), surplus, "{limit:?}, {used:?} is used");
    }
}
