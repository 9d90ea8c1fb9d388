use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod as pod_on};

fn claim(owner: Option<&str>) -> PersistentVolumeClaim {
    let owners = owner.map(|uid| {
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}])
    });
    object(json!({"metadata": {
        "namespace": "x", "name": "p-data", "uid": "c", "deletionTimestamp": "2030-01-01T00:00:00Z",
        "finalizers": [CLAIM_PROTECTION, "other"], "ownerReferences": owners,
    }}))
}

fn user(node: &str, volume: Value, meta: Value) -> Arc<Pod> {
    pod_on(
        "p",
        node,
        json!({"metadata": meta, "spec": {"volumes": [volume]}}),
    )
}

#[test]
fn who_uses_a_claim() {
    let named = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
    let other = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "other"}});
    let made = || json!({"name": "data", "ephemeral": {}});
    let shut =
        || json!({"deletionTimestamp": "2030-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
    for (what, pod, owner, expected) in [
        ("named", user("n", named(), json!({})), None, true),
        ("another", user("n", other(), json!({})), None, false),
        ("no node", user("", named(), json!({})), None, false),
        ("named, shut down", user("n", named(), shut()), None, true),
        (
            "made for it",
            user("n", made(), json!({})),
            Some("uid-p"),
            true,
        ),
        (
            "made, shut down",
            user("n", made(), shut()),
            Some("uid-p"),
            false,
        ),
        (
            "made for another",
            user("n", made(), json!({})),
            Some("q"),
            false,
        ),
    ] {
        assert_eq!(uses(&pod, &claim(owner)), expected, "{what}");
    }
}

/// The finalizer goes only when the server has no user either.
#[tokio::test]
async fn the_server_is_asked_first() {
    for live in [true, false] {
        let (client, mut server) = fake::client();
        let controller = PvcProtection {
            client,
            claims: Informer::new(),
            pods: Informer::new(),
            queue: WorkQueue::new(),
        };
        controller.claims.apply(claim(None));
        let key = Key::new("x", "p-data");
        let reconciling = controller.reconcile(&key);
        tokio::pin!(reconciling);
        let mut written = None;
        let result = loop {
            tokio::select! {
                result = &mut reconciling => break result,
                request = server.next() => {
                    if request.method == "GET" {
                        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
                        let items = if live { vec![user("n", volume, json!({}))] } else { vec![] };
                        let items: Vec<&Pod> = items.iter().map(|pod| &**pod).collect();
                        request.answer(200, &json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}));
                    } else {
                        written = Some(request.body["metadata"]["finalizers"].clone());
                        let body = request.body.clone();
                        request.answer(200, &body);
                    }
                }
            }
        };
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(written, (!live).then(|| json!(["other"])));
    }
}
