use expect_test::expect;
use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::exchange::{accepted, failed, reconcile};
use crate::fixtures::{object, pod as pod_on};

#[test]
fn claims_are_made_from_templates() {
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let template =
        json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": spec});
    let pod = pod_on(
        "p",
        "n",
        json!({"spec": {"volumes": [
            {"name": "plain", "emptyDir": {}}, {"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]}}),
    );
    assert!(wants_claims(&pod));
    let claims: Vec<_> = ephemeral(&pod)
        .map(|volume| claim_for(&pod, volume))
        .collect();
    let shown = serde_json::to_string_pretty(&claims).expect("JSON");
    expect![[r#"
        [
          {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
              "annotations": {
                "c": "d"
              },
              "labels": {
                "a": "b"
              },
              "name": "p-data",
              "namespace": "x",
              "ownerReferences": [
                {
                  "apiVersion": "v1",
                  "blockOwnerDeletion": true,
                  "controller": true,
                  "kind": "Pod",
                  "name": "p",
                  "uid": "uid-p"
                }
              ]
            },
            "spec": {
              "accessModes": [
                "ReadWriteOnce"
              ],
              "resources": {
                "requests": {
                  "storage": "1Gi"
                }
              }
            }
          }
        ]"#]]
    .assert_eq(&shown);
    let going = pod_on(
        "p",
        "n",
        json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"volumes": [{"name": "data", "ephemeral": {}}]}}),
    );
    assert!(!wants_claims(&going));
}

/// A pod with a plain volume and an ephemeral one, and its claim with this owner.
fn controller(owner: Option<&str>) -> (EphemeralVolume, fake::Server) {
    let (client, server) = fake::client();
    let controller = EphemeralVolume {
        recorder: Recorder::new(client.clone(), "ephemeral_volume"),
        client,
        pods: Informer::new(),
        claims: Informer::new(),
        queue: WorkQueue::new(),
    };
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"]}});
    let volumes = json!([{"name": "plain", "emptyDir": {}}, {"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]);
    let pod = pod_on("p", "", json!({"spec": {"volumes": volumes}}));
    controller.pods.apply(Pod::clone(&pod));
    if let Some(uid) = owner {
        let owner =
            json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
        let meta = json!({"namespace": "x", "name": "p-data", "ownerReferences": [owner]});
        controller.claims.apply(object(json!({"metadata": meta})));
    }
    (controller, server)
}

/// What the events about the pod say.
async fn warning(server: &mut fake::Server) -> Value {
    let event = server.next().await.body;
    assert_eq!(event["type"], WARNING);
    assert_eq!(event["reason"], "FailedBinding");
    event["message"].clone()
}

#[tokio::test]
async fn claims_are_made_once_and_others_are_left_alone() {
    let key = Key::new("x", "p");
    let (missing, mut server) = controller(None);
    let (result, asked) = reconcile(&missing, &key, &mut server, accepted).await;
    assert!(result.is_ok(), "{result:?}");
    let shown: Vec<String> = asked.iter().map(|asked| asked.shown()).collect();
    assert_eq!(shown, ["POST /api/v1/namespaces/x/persistentvolumeclaims"]);

    let (made, mut server) = controller(Some("uid-p"));
    let (result, asked) = reconcile(&made, &key, &mut server, accepted).await;
    assert!(result.is_ok() && asked.is_empty());
    assert!(server.is_idle());

    let (others, mut server) = controller(Some("another"));
    let (result, asked) = reconcile(&others, &key, &mut server, accepted).await;
    assert!(result.is_err() && asked.is_empty());
    assert_eq!(
        warning(&mut server).await,
        "ephemeral volume data: PVC x/p-data was not created for pod x/p (pod is not owner)"
    );
}

#[tokio::test]
async fn a_claim_that_is_refused_is_told_of() {
    let key = Key::new("x", "p");
    let (refused, mut server) = controller(None);
    let (result, _) = reconcile(&refused, &key, &mut server, |_| failed(403, "Forbidden")).await;
    assert!(result.is_err_and(|error| !error.is_race()));
    let text = "ephemeral volume data: create PVC p-data: no";
    assert_eq!(warning(&mut server).await, text);

    // The informer is late.
    let (late, mut server) = controller(None);
    let exists = |_: &_| failed(409, "AlreadyExists");
    let (result, _) = reconcile(&late, &key, &mut server, exists).await;
    assert!(result.is_err_and(|error| error.is_race()));
    assert!(server.is_idle());
}
