use expect_test::expect;
use serde_json::json;

use super::*;
use crate::fixtures::pod as pod_on;

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
