use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::exchange::{accepted, reconcile};
use crate::fixtures::object;

fn claim(phase: &str, wants: &str, has: &str) -> Arc<PersistentVolumeClaim> {
    Arc::new(object(json!({
        "metadata": {"namespace": "x", "name": "c"},
        "spec": {"resources": {"requests": {"storage": wants}}},
        "status": {"phase": phase, "capacity": {"storage": has}},
    })))
}

#[test]
fn claims_that_grew_are_told_of() {
    let cases = [
        (
            claim("Bound", "1Gi", "1Gi"),
            claim("Bound", "2Gi", "1Gi"),
            true,
        ),
        (
            claim("Bound", "1Gi", "1Gi"),
            claim("Bound", "1024Mi", "1Gi"),
            false,
        ),
        (
            claim("Pending", "1Gi", "0"),
            claim("Pending", "2Gi", "0"),
            false,
        ),
        // The driver gave more than was asked for.
        (
            claim("Bound", "1Gi", "4Gi"),
            claim("Bound", "2Gi", "4Gi"),
            false,
        ),
        // A part of it is there.
        (
            claim("Bound", "3Gi", "1Gi"),
            claim("Bound", "3Gi", "2Gi"),
            true,
        ),
        // It is under way.
        (
            claim("Bound", "2Gi", "1Gi"),
            claim("Bound", "2Gi", "1Gi"),
            false,
        ),
        (
            claim("Bound", "2Gi", "1Gi"),
            claim("Bound", "2Gi", "2Gi"),
            false,
        ),
    ];
    for (old, new, told) in cases {
        let case = format!("{:?} {:?}", old.status, new.spec);
        assert_eq!(asks_for_more(&Event::Updated { old, new }), told, "{case}");
    }
    assert!(asks_for_more(&Event::Added(claim("Bound", "2Gi", "1Gi"))));
    assert!(!asks_for_more(&Event::Added(claim("Bound", "1Gi", "1Gi"))));
    assert!(!asks_for_more(&Event::Deleted(claim(
        "Bound", "2Gi", "1Gi"
    ))));
}

/// What becomes of a claim that grew, with this volume.
async fn told(volume: Value) -> (Result<(), Error>, fake::Server) {
    let (client, mut server) = fake::client();
    let controller = VolumeExpand {
        recorder: Recorder::new(client, "volume_expand"),
        claims: Informer::new(),
        volumes: Informer::new(),
        queue: WorkQueue::new(),
    };
    controller.claims.apply(object(json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "u"},
        "spec": {"volumeName": "v", "resources": {"requests": {"storage": "2Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
    })));
    controller.volumes.apply(object(volume));
    let key = Key::new("x", "c");
    let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
    assert!(asked.is_empty(), "nothing is made larger here");
    (result, server)
}

#[tokio::test]
async fn the_claim_says_who_is_waited_for() {
    let of = |uid: &str| {
        let claim = json!({"namespace": "x", "name": "c", "uid": uid});
        json!({"metadata": {"name": "v"}, "spec": {"claimRef": claim}})
    };
    let (result, mut server) = told(of("u")).await;
    assert!(result.is_ok(), "{result:?}");
    let event = server.next().await.body;
    let shown = ["type", "reason", "message"].map(|field| event[field].as_str());
    assert_eq!(shown, [Some(NORMAL), Some(REASON), Some(NOTE)]);
    assert_eq!(event["involvedObject"]["name"], "c");
    // The volume of an earlier claim of that name.
    let (result, mut server) = told(of("before")).await;
    assert!(result.is_err_and(|error| error.is_race()));
    assert!(server.is_idle());
}
