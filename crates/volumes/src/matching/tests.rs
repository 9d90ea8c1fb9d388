use serde_json::{Value, json};

use super::*;
use crate::fixtures::{claim, volume};

fn node(zone: &str) -> Node {
    serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"zone": zone}}}))
        .expect("a node")
}

fn in_zone(zone: &str) -> Value {
    json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}}}})
}

fn found(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    place: Place<'_>,
) -> String {
    let found = find(claim, volumes, place, |_| false);
    found.map_or_else(|| "-".to_owned(), |volume| volume::name(&volume).to_owned())
}

#[test]
fn the_least_that_is_enough() {
    let many = json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}});
    let volumes = [
        volume("small", "4Gi", json!({})),
        volume("large", "10Gi", json!({})),
        volume("right", "6Gi", json!({})),
        volume("exact-but-more-modes", "5Gi", many),
    ];
    assert_eq!(found(&claim(json!({})), &volumes, Place::Any), "right");
    let shared = claim(json!({"spec": {"accessModes": ["ReadOnlyMany"]}}));
    assert_eq!(found(&shared, &volumes, Place::Any), "exact-but-more-modes");
    let promised = find(&claim(json!({})), &volumes, Place::Any, |v| {
        volume::name(v) == "right"
    });
    assert_eq!(
        promised.map(|v| volume::name(&v).to_owned()).as_deref(),
        Some("large")
    );
}

#[test]
fn what_does_not_fit() {
    let plain = claim(json!({}));
    for (what, more) in [
        ("class", json!({"spec": {"storageClassName": "slow"}})),
        ("mode", json!({"spec": {"volumeMode": "Block"}})),
        (
            "attributes",
            json!({"spec": {"volumeAttributesClassName": "gold"}}),
        ),
        ("access", json!({"spec": {"accessModes": ["ReadOnlyMany"]}})),
        ("phase", json!({"status": {"phase": "Released"}})),
        (
            "deletion",
            json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}}),
        ),
        (
            "another's",
            json!({"spec": {"claimRef": {"namespace": "x", "name": "other"}}}),
        ),
    ] {
        assert_eq!(
            found(&plain, &[volume("v", "5Gi", more)], Place::Any),
            "-",
            "{what}"
        );
    }
    let selective = claim(json!({"spec": {"selector": {"matchLabels": {"tier": "gold"}}}}));
    let labelled = volume(
        "gold",
        "5Gi",
        json!({"metadata": {"labels": {"tier": "gold"}}}),
    );
    assert_eq!(
        found(
            &selective,
            &[volume("v", "5Gi", json!({})), labelled],
            Place::Any
        ),
        "gold"
    );
    let classes = claim(
        json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}}),
    );
    let old = volume("old", "5Gi", json!({"spec": {"storageClassName": "old"}}));
    assert_eq!(found(&classes, &[old], Place::Any), "old");
}

#[test]
fn reserved_ones_come_first() {
    let mine = json!({"spec": {"claimRef": {"namespace": "x", "name": "c"}}});
    let volumes = [
        volume("free", "5Gi", json!({})),
        volume("mine", "50Gi", mine.clone()),
    ];
    let plain = claim(json!({}));
    assert_eq!(found(&plain, &volumes, Place::Any), "mine");
    assert_eq!(found(&plain, &volumes, Place::Undecided), "mine");
    assert_eq!(found(&plain, &volumes[..1], Place::Undecided), "-");
    let earlier = json!({"spec": {"claimRef": {"namespace": "x", "name": "c", "uid": "earlier"}}});
    assert_eq!(
        found(&plain, &[volume("v", "5Gi", earlier)], Place::Any),
        "-"
    );
    assert_eq!(
        found(&plain, &[volume("small", "1Gi", mine)], Place::Any),
        "-"
    );
}

#[test]
fn nodes() {
    let volumes = [
        volume("a", "5Gi", in_zone("a")),
        volume("b", "6Gi", in_zone("b")),
    ];
    let plain = claim(json!({}));
    assert_eq!(found(&plain, &volumes, Place::On(&node("b"))), "b");
    assert_eq!(found(&plain, &volumes, Place::On(&node("c"))), "-");
    assert_eq!(found(&plain, &volumes, Place::Any), "a");
}

#[test]
fn why_not() {
    let plain = claim(json!({}));
    let why =
        |size: &str, more: Value| mismatch(&volume("v", size, more), &plain).unwrap_or_default();
    assert_eq!(why("5Gi", json!({})), "");
    assert_eq!(why("1Gi", json!({})), "requested PV is too small");
    let class = json!({"spec": {"storageClassName": "slow"}});
    assert_eq!(why("5Gi", class), "storageClassName does not match");
    assert_eq!(
        why("5Gi", json!({"spec": {"volumeMode": "Block"}})),
        "incompatible volumeMode"
    );
    assert_eq!(
        why("5Gi", json!({"spec": {"accessModes": []}})),
        "incompatible accessMode"
    );
    let going = json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}});
    assert_eq!(why("5Gi", going), "the volume is marked for deletion \"v\"");
}
