use serde_json::{Value, json};

use super::*;
use crate::testing::object;

fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, more) => *target = more,
    }
}

fn claim(more: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "0a1b", "annotations": {
            "volume.kubernetes.io/storage-provisioner": "rancher.io/local-path",
            "volume.kubernetes.io/selected-node": "n1",
        }},
        "spec": {
            "storageClassName": "local-path", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    merge(&mut claim, more);
    object(claim)
}

fn class(mode: &str) -> StorageClass {
    object(json!({
        "metadata": {"name": "local-path"}, "provisioner": "rancher.io/local-path",
        "volumeBindingMode": mode, "reclaimPolicy": "Retain",
    }))
}

fn waiting() -> StorageClass {
    class("WaitForFirstConsumer")
}

#[test]
fn whose_claims() {
    assert!(is_ours(&claim(json!({})), &waiting()));
    for (what, more) in [
        (
            "another provisioner's",
            json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "x.io/p"}}}),
        ),
        ("bound", json!({"spec": {"volumeName": "v"}})),
        (
            "going",
            json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}}),
        ),
    ] {
        assert!(!is_ours(&claim(more), &waiting()), "{what}");
    }
    let mut other = waiting();
    other.provisioner = "x.io/p".to_owned();
    assert!(!is_ours(&claim(json!({})), &other));
}

#[test]
fn what_is_refused() {
    let said =
        |more: Value, class: &StorageClass, node: &str| match check(&claim(more), class, node) {
            Ok(()) => "served".to_owned(),
            Err(Refusal::Elsewhere) => "elsewhere".to_owned(),
            Err(Refusal::Never(why)) => why,
        };
    let no_node =
        || json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": ""}}});
    assert_eq!(said(json!({}), &waiting(), "n1"), "served");
    assert_eq!(said(json!({}), &waiting(), "n2"), "elsewhere");
    assert_eq!(said(no_node(), &waiting(), "n1"), "elsewhere");
    assert_eq!(
        said(no_node(), &class("Immediate"), "n1"),
        "configuration error, no node was specified"
    );
    let spec = |more: Value| said(json!({"spec": more}), &waiting(), "n1");
    assert_eq!(
        spec(json!({"selector": {}})),
        "claim.Spec.Selector is not supported"
    );
    assert_eq!(
        spec(json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "o"}})),
        "claim.Spec.DataSource is not supported"
    );
    assert_eq!(
        spec(json!({"volumeMode": "Block"})),
        "rancher.io/local-path does not support block volume provisioning"
    );
    assert_eq!(
        spec(json!({"accessModes": ["ReadWriteMany"]})),
        "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes"
    );
    assert_eq!(spec(json!({"accessModes": ["ReadWriteOncePod"]})), "served");
}

#[test]
fn what_is_made() {
    let made = volume(
        &claim(json!({})),
        &waiting(),
        "n1",
        Path::new("/data/storage"),
    );
    let mut made = serde_json::to_value(&made).expect("JSON");
    for field in ["apiVersion", "kind"] {
        made.as_object_mut().expect("a map").remove(field);
    }
    assert_eq!(
        made,
        json!({
            "metadata": {
                "name": "pvc-0a1b",
                "annotations": {
                    "pv.kubernetes.io/provisioned-by": "rancher.io/local-path",
                    "local.path.provisioner/selected-node": "n1",
                },
                "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"],
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "x", "name": "c", "uid": "0a1b"},
                "local": {"path": "/data/storage/pvc-0a1b"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}},
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "local-path", "volumeMode": "Filesystem",
            },
        })
    );
}

#[test]
fn what_is_due() {
    let directory = Path::new("/data/storage");
    let made = volume(&claim(json!({})), &waiting(), "n1", directory);
    let of = |phase: &str, policy: &str, more: Value| -> PersistentVolume {
        let mut volume = serde_json::to_value(&made).expect("JSON");
        merge(
            &mut volume,
            json!({"status": {"phase": phase}, "spec": {"persistentVolumeReclaimPolicy": policy}}),
        );
        merge(&mut volume, more);
        object(volume)
    };
    let going = || json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}});
    let let_go = || json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z", "finalizers": ["other"]}});
    for (phase, policy, more, expected) in [
        ("Bound", "Delete", json!({}), Due::Nothing),
        ("Bound", "Delete", going(), Due::Nothing),
        ("Pending", "Delete", json!({}), Due::Nothing),
        ("Released", "Delete", json!({}), Due::Remove),
        ("Released", "Delete", going(), Due::Remove),
        ("Released", "Delete", let_go(), Due::Nothing),
        ("Released", "Retain", json!({}), Due::Nothing),
        ("Released", "Retain", going(), Due::LetGo),
        // What is not as it was written is not believed.
        (
            "Released",
            "Delete",
            json!({"metadata": {"name": "pvc-other"}}),
            Due::Nothing,
        ),
        (
            "Released",
            "Delete",
            json!({"spec": {"local": {"path": "/etc"}}}),
            Due::Nothing,
        ),
        (
            "Released",
            "Delete",
            json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "x.io/p"}}}),
            Due::Nothing,
        ),
    ] {
        assert_eq!(
            due(&of(phase, policy, more.clone()), "n1", directory),
            expected,
            "{phase} {policy} {more}"
        );
        assert_eq!(due(&of(phase, policy, more), "n2", directory), Due::Nothing);
    }
}
