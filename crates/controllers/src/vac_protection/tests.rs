use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::exchange::{accepted, reconcile};
use crate::fixtures::object;

fn claim_of(spec: Value, status: Value) -> PersistentVolumeClaim {
    object(json!({"metadata": {"namespace": "x", "name": "c"}, "spec": spec, "status": status}))
}

#[test]
fn a_claim_names_what_it_wants_has_and_gets() {
    let modify = json!({"targetVolumeAttributesClassName": "gets", "status": "InProgress"});
    for (spec, status, expected) in [
        (json!({}), json!({}), &[][..]),
        (json!({"volumeAttributesClassName": ""}), json!({}), &[]),
        (
            json!({"volumeAttributesClassName": "wants"}),
            json!({"currentVolumeAttributesClassName": "has", "modifyVolumeStatus": modify}),
            &["gets", "has", "wants"],
        ),
        (
            json!({"volumeAttributesClassName": "same"}),
            json!({"currentVolumeAttributesClassName": "same"}),
            &["same"],
        ),
        (
            json!({}),
            json!({"modifyVolumeStatus": {"status": "Pending"}}),
            &[],
        ),
    ] {
        assert_eq!(named_by(&claim_of(spec, status)), expected);
    }
}

/// The finalizers that are written, where any are.
async fn written(
    class: Value,
    claims: Vec<PersistentVolumeClaim>,
    volumes: Vec<PersistentVolume>,
) -> Option<Value> {
    let (client, mut server) = fake::client();
    let controller = VacProtection {
        client,
        classes: Informer::new(),
        claims: Informer::new(),
        volumes: Informer::new(),
        queue: WorkQueue::new(),
    };
    controller.classes.apply(object(
        json!({"metadata": class, "driverName": "d.example.com"}),
    ));
    claims.into_iter().for_each(|c| controller.claims.apply(c));
    volumes
        .into_iter()
        .for_each(|v| controller.volumes.apply(v));
    let key = Key::new("", "gold");
    let (result, mut asked) = reconcile(&controller, &key, &mut server, accepted).await;
    assert!(result.is_ok(), "{result:?}");
    assert!(asked.len() < 2, "one write is enough");
    let asked = asked.pop()?;
    let path = "/apis/storage.k8s.io/v1/volumeattributesclasses/gold";
    assert_eq!(asked.shown(), format!("PUT {path}"));
    Some(asked.body["metadata"]["finalizers"].clone())
}

#[tokio::test]
async fn classes_stay_while_they_are_named() {
    let kept =
        || json!({"name": "gold", "uid": "u", "finalizers": [ATTRIBUTES_PROTECTION, "other"]});
    let going = || {
        let mut class = kept();
        class["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        class
    };
    let claim = |name: &str| claim_of(json!({"volumeAttributesClassName": name}), json!({}));
    let has = || {
        claim_of(
            json!({}),
            json!({"currentVolumeAttributesClassName": "gold"}),
        )
    };
    let volume = |name: &str| -> PersistentVolume {
        object(json!({"metadata": {"name": "v"}, "spec": {"volumeAttributesClassName": name}}))
    };
    let fresh = json!({"name": "gold", "uid": "u"});
    let added = Some(json!([ATTRIBUTES_PROTECTION]));
    let removed = Some(json!(["other"]));
    for (what, class, claims, volumes, expected) in [
        ("made without", fresh.clone(), vec![], vec![], added),
        ("protected", kept(), vec![], vec![], None),
        ("wanted", going(), vec![claim("gold")], vec![], None),
        ("had", going(), vec![has()], vec![], None),
        ("a volume's", going(), vec![], vec![volume("gold")], None),
        (
            "others named",
            going(),
            vec![claim("b")],
            vec![volume("b")],
            removed.clone(),
        ),
        ("named by nobody", going(), vec![], vec![], removed),
        (
            "ends without the finalizer",
            json!({"name": "gold", "uid": "u", "finalizers": ["other"], "deletionTimestamp": "2030-01-01T00:00:00Z"}),
            vec![],
            vec![],
            None,
        ),
    ] {
        assert_eq!(written(class, claims, volumes).await, expected, "{what}");
    }
}
