use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn claim() -> PersistentVolumeClaim {
    object(
        json!({"metadata": {"namespace": "x", "name": "c", "uid": "u"}, "spec": {}, "status": {"phase": "Pending"}}),
    )
}

fn volume(claim_ref: &Value) -> PersistentVolume {
    object(json!({
        "metadata": {"name": "v"},
        "spec": {"claimRef": claim_ref, "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
    }))
}

#[test]
fn all_four_writes_and_then_none() {
    for (by_user, claim_ref) in [
        (false, Value::Null),
        (true, json!({"namespace": "x", "name": "c"})),
    ] {
        let volume = volume_to_claim(&volume(&claim_ref), &claim()).expect("the claim");
        let named = volume::claim_reference(&volume).and_then(|r| r.uid.as_deref());
        assert_eq!(named, Some("u"));
        let noted = annotation(&volume.metadata, names::BOUND_BY_CONTROLLER);
        assert_eq!(noted.is_none(), by_user);
        assert_eq!(volume_to_claim(&volume, &claim()), None);

        let volume = volume_phase(&volume, "Bound", None).expect("a phase");
        assert_eq!(volume_phase(&volume, "Bound", None), None);

        let bound = claim_to_volume(&claim(), &volume).expect("the volume");
        assert!(claim::is_bound(&bound));
        assert_eq!(
            annotation(&bound.metadata, names::BOUND_BY_CONTROLLER),
            Some("yes")
        );
        assert_eq!(claim_to_volume(&bound, &volume), None);

        let bound = claim_status(&bound, &volume).expect("a status");
        let status = serde_json::to_value(&bound.status).expect("JSON");
        let expected = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
        assert_eq!(status, expected);
        assert_eq!(claim_status(&bound, &volume), None);

        let free = unbound(&volume);
        let left = volume::claim_reference(&free);
        assert_eq!(left.map(|r| r.uid.is_some()), by_user.then_some(false));
        assert_eq!(annotation(&free.metadata, names::BOUND_BY_CONTROLLER), None);
    }
}

#[test]
fn a_bound_claims_capacity_is_left_alone() {
    let mut claim = claim();
    let status = json!({"phase": "Bound", "capacity": {"storage": "512Mi"}, "accessModes": ["ReadWriteOnce"]});
    claim.status = Some(object(status));
    assert_eq!(claim_status(&claim, &volume(&Value::Null)), None);
    let lost = claim_phase(&claim, "Lost").expect("a phase");
    let status = serde_json::to_value(&lost.status).expect("JSON");
    assert_eq!(status, json!({"phase": "Lost"}));
}

#[test]
fn provisioners_are_named_twice() {
    let asked = provisioned(&claim(), "x.io/p").expect("annotations");
    for key in [names::STORAGE_PROVISIONER, names::BETA_STORAGE_PROVISIONER] {
        assert_eq!(annotation(&asked.metadata, key), Some("x.io/p"));
    }
    assert_eq!(provisioned(&asked, "x.io/p"), None);
}
