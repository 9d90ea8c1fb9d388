use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, object};

fn volume(phase: &str, policy: &str, more: Value) -> PersistentVolume {
    let mut volume = json!({
        "metadata": {"name": "v"}, "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase},
    });
    merge(&mut volume, more);
    object(volume)
}

fn provisioned(by: &str) -> Value {
    json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": by}}})
}

fn claim(volume: &str, mode: &str) -> PersistentVolumeClaim {
    object(json!({"metadata": {"name": "c"}, "spec": {"volumeName": volume, "volumeMode": mode}}))
}

#[test]
fn free_ones() {
    let plan = |phase: &str| super::plan(&volume(phase, "Retain", json!({})), Holder::Nobody);
    assert_eq!(plan("Pending"), Step::Phase("Available"));
    assert_eq!(plan("Available"), Step::Nothing);
}

#[test]
fn held_ones() {
    let plan = |of: &PersistentVolume, holder: &PersistentVolumeClaim| {
        super::plan(of, Holder::Claim(holder))
    };
    let fresh = volume("Available", "Delete", json!({}));
    assert_eq!(
        plan(&fresh, &claim("v", "Filesystem")),
        Step::Phase("Bound")
    );
    assert_eq!(plan(&fresh, &claim("", "Filesystem")), Step::WakeClaim);
    assert_eq!(plan(&fresh, &claim("", "Block")), Step::Mismatch);
    let elsewhere = claim("other", "Filesystem");
    assert_eq!(plan(&fresh, &elsewhere), Step::Unbind);
    let made = volume("Bound", "Delete", provisioned("x.io/p"));
    assert_eq!(plan(&made, &elsewhere), Step::Release);
    let kept = volume("Bound", "Retain", provisioned("x.io/p"));
    assert_eq!(plan(&kept, &elsewhere), Step::Unbind);
}

#[test]
fn released_ones() {
    let plan = |phase: &str, policy: &str, more: Value| {
        super::plan(&volume(phase, policy, more), Holder::Gone)
    };
    assert_eq!(plan("Bound", "Retain", json!({})), Step::Release);
    assert_eq!(plan("Released", "Retain", json!({})), Step::Nothing);
    assert_eq!(
        plan("Bound", "Delete", provisioned("x.io/p")),
        Step::Release
    );
    assert_eq!(
        plan("Released", "Delete", provisioned("x.io/p")),
        Step::Nothing
    );
    for (policy, more, reason) in [
        ("Delete", json!({}), "VolumeFailedDelete"),
        (
            "Delete",
            provisioned("kubernetes.io/host-path"),
            "VolumeFailedDelete",
        ),
        ("Recycle", json!({}), "VolumeFailedRecycle"),
        ("Lose", json!({}), "VolumeUnknownReclaimPolicy"),
    ] {
        let step = plan("Bound", policy, more.clone());
        assert!(
            matches!(step, Step::Fail(said, _) if said == reason),
            "{policy}: {step:?}"
        );
        assert_eq!(plan("Failed", policy, more), Step::Nothing);
    }
}
