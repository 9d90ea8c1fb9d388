use std::time::Instant;

use knarr_client::fake;
use serde_json::json;

use super::*;
use crate::{
    config::Config,
    testing::{self, fake::Fake, object},
};

fn key(name: &str) -> Key {
    ("ns".to_owned(), name.to_owned())
}

fn pod(name: &str, uid: &str) -> Arc<Pod> {
    Arc::new(object(
        json!({ "metadata": { "name": name, "namespace": "ns", "uid": uid } }),
    ))
}

#[test]
fn what_is_shown_is_what_runs() {
    let own = pod("a", "1");
    let shown = |uid: Option<&str>| Want::Mirror(own.clone(), uid.map(str::to_owned));
    let create = || vec![Operation::Create(own.clone())];
    let delete = |uid: &str| vec![Operation::Delete(key("a"), uid.to_owned())];
    for (want, mirror, wanted) in [
        (Some(shown(None)), None, create()),
        (Some(shown(Some("m"))), Some("m"), vec![]),
        // Another's, one that is being deleted, or one of an earlier life: its place has to be free first.
        (Some(shown(None)), Some("m"), delete("m")),
        (Some(Want::Whatever), None, vec![]),
        (Some(Want::Whatever), Some("m"), vec![]),
        (None, Some("m"), delete("m")),
        (None, None, vec![]),
    ] {
        let wants = want
            .clone()
            .map(|want| (key("a"), want))
            .into_iter()
            .collect();
        let mirrors: Vec<_> = mirror.into_iter().map(|uid| pod("a", uid)).collect();
        assert_eq!(plan(&wants, &mirrors, true), wanted, "{want:?} {mirrors:?}");
    }
    // It may be a pod's whose manifest has not been read yet.
    assert_eq!(plan(&HashMap::new(), &[pod("a", "m")], false), []);
}

#[test]
fn a_mirror_belongs_to_its_node() {
    let node: Node = object(json!({ "metadata": { "name": "n1", "uid": "node-uid" } }));
    let own: Pod = object(json!({
        "metadata": { "name": "a", "uid": "1", "annotations": { HASH: "1" } },
        "spec": { "containers": [], "nodeName": "n1" },
        "status": { "phase": "Pending" },
    }));
    let mirror = serde_json::to_value(mirror(&own, owner(&node).unwrap())).unwrap();
    let wanted = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "a", "annotations": { HASH: "1", MIRROR: "1" },
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid", "controller": true },
            ],
        },
        "spec": { "containers": [], "nodeName": "n1" },
    });
    assert_eq!(mirror, wanted);
    let leaving = json!({ "metadata": { "name": "n1", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    assert!(owner(&object(leaving)).is_none());
}

#[tokio::test]
async fn who_deletes_a_mirror_has_time_to_watch_it_go() {
    let dir = tempfile::tempdir().unwrap();
    Fake::default().serve(&dir.path().join("cri.sock"));
    let (client, mut server) = fake::client();
    let ctx = testing::context(client, Config::default(), dir.path()).await;
    ctx.pods.apply(object(json!({ "metadata": {
        "name": "a", "namespace": "ns", "uid": "m", "annotations": { MIRROR: "1" },
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    } })));
    let began = Instant::now();
    let mut told = HashSet::new();
    tokio::select! {
        _ = round(&ctx, true, &mut told) => panic!("it is not deleted"),
        request = server.next() => assert_eq!(request.method, "DELETE"),
    }
    assert!(began.elapsed() >= DELETION);
}
