use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::fixtures::pod;

fn owned(uid: &str, owner: Option<(&str, &str)>, going: bool) -> Arc<Pod> {
    let owners: Value = owner.map_or(json!([]), |(kind, name)| {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "o", "controller": true}])
    });
    let deleted = going.then_some("2030-01-01T11:59:00Z");
    let meta = json!({"uid": uid, "ownerReferences": owners, "deletionTimestamp": deleted, "namespace": "x"});
    pod("p", "n", json!({"metadata": meta}))
}

#[test]
fn events_are_their_controllers() {
    let agent = Some(("DaemonSet", "agent"));
    let key = || Key::new("x", "agent");
    let gone = |uid: &str| (key(), uid.to_owned());
    let update = |old, new| Event::Updated { old, new };
    let orphan = Meaning {
        orphan: true,
        ..Meaning::default()
    };
    let woken = Meaning {
        wake: vec![key()],
        ..Meaning::default()
    };
    let labelled = |pod: &Arc<Pod>| {
        let mut labelled = Pod::clone(pod);
        let labels = labelled.metadata.labels.get_or_insert_default();
        labels.insert("app".to_owned(), "another".to_owned());
        Arc::new(labelled)
    };
    let nobodys = owned("a", None, false);
    for (what, event, expected) in [
        (
            "nobody's, and its kubelet says something of it",
            update(nobodys.clone(), nobodys.clone()),
            Meaning::default(),
        ),
        (
            "nobody's, with other labels",
            update(nobodys.clone(), labelled(&nobodys)),
            Meaning {
                orphan: true,
                ..Meaning::default()
            },
        ),
        (
            "nobody's, going",
            update(nobodys.clone(), owned("a", None, true)),
            Meaning::default(),
        ),
        (
            "nobody's, deleted",
            Event::Deleted(nobodys.clone()),
            Meaning::default(),
        ),
        (
            "created",
            Event::Added(owned("a", agent, false)),
            Meaning {
                created: Some(key()),
                wake: vec![key()],
                ..Meaning::default()
            },
        ),
        (
            "first seen going",
            Event::Added(owned("a", agent, true)),
            Meaning {
                going: vec![gone("a")],
                wake: vec![key()],
                ..Meaning::default()
            },
        ),
        (
            "of another kind",
            Event::Added(owned("a", Some(("ReplicaSet", "agent")), false)),
            Meaning::default(),
        ),
        (
            "nobody's",
            Event::Added(owned("a", None, false)),
            Meaning {
                orphan: true,
                ..Meaning::default()
            },
        ),
        (
            "changed",
            update(owned("a", agent, false), owned("a", agent, false)),
            woken,
        ),
        (
            "going",
            update(owned("a", agent, false), owned("a", agent, true)),
            Meaning {
                going: vec![gone("a")],
                wake: vec![key()],
                ..Meaning::default()
            },
        ),
        (
            "released",
            update(owned("a", agent, false), owned("a", None, false)),
            Meaning {
                wake: vec![key()],
                ..orphan
            },
        ),
        (
            "replaced",
            update(owned("a", agent, false), owned("b", agent, false)),
            Meaning {
                created: Some(key()),
                going: vec![gone("a")],
                wake: vec![key()],
                ..Meaning::default()
            },
        ),
        (
            "deleted",
            Event::Deleted(owned("a", agent, false)),
            Meaning {
                going: vec![gone("a")],
                wake: vec![key()],
                ..Meaning::default()
            },
        ),
    ] {
        assert_eq!(meaning(&event, "DaemonSet"), expected, "{what}");
    }
}
