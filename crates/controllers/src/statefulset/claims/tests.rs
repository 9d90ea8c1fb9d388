use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod};

fn set(deleted: &str, scaled: &str) -> StatefulSet {
    object(json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "sts"},
        "spec": {"selector": {}, "template": {}, "replicas": 2, "persistentVolumeClaimRetentionPolicy": {
            "whenDeleted": deleted, "whenScaled": scaled}},
    }))
}

fn reference(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
    let version = if kind == "Pod" { "v1" } else { "apps/v1" };
    json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
}

/// The uids that the claim of a pod gets as owners; `None`: nothing changes.
fn owners(set: &StatefulSet, pod_name: &str, now: &[Value]) -> Option<Vec<String>> {
    let claim: PersistentVolumeClaim = object(json!({"metadata": {"ownerReferences": now}}));
    let references = references(set, &pod(pod_name, "n", json!({})), &claim)?;
    Some(references.into_iter().map(|r| r.uid).collect())
}

#[test]
fn policies() {
    let of_set = || reference("StatefulSet", "db", "sts", true);
    let of_pod = |n: u8| reference("Pod", &format!("db-{n}"), &format!("uid-db-{n}"), true);
    for (deleted, scaled, in_range, beyond) in [
        ("Retain", "Retain", None, None),
        ("Delete", "Retain", Some("sts"), Some("sts")),
        ("Retain", "Delete", None, Some("uid-db-2")),
        ("Delete", "Delete", Some("sts"), Some("uid-db-2")),
    ] {
        let set = set(deleted, scaled);
        for (number, wanted) in [(1, in_range), (2, beyond)] {
            let name = format!("db-{number}");
            let what = format!("{name}, {deleted} when deleted, {scaled} when scaled");
            let gets = wanted.map(|uid| vec![uid.to_owned()]);
            assert_eq!(owners(&set, &name, &[]), gets, "{what}");
            let both = [of_set(), of_pod(number)];
            let left = Some(gets.unwrap_or_default());
            assert_eq!(owners(&set, &name, &both), left, "{what}, from both");
            let right = wanted.map(|uid| {
                if uid == "sts" {
                    of_set()
                } else {
                    of_pod(number)
                }
            });
            let right: Vec<_> = right.into_iter().collect();
            assert_eq!(owners(&set, &name, &right), None, "{what}, right already");
        }
    }
}

#[test]
fn others_references() {
    let set = set("Delete", "Retain");
    let stale = reference("StatefulSet", "db", "earlier", true);
    let stale_pod = reference("Pod", "db-1", "earlier", true);
    let foreign = reference("Job", "copy", "job", true);
    let friend = reference("Job", "copy", "job", false);
    let ours = reference("StatefulSet", "db", "sts", true);
    let weak = reference("StatefulSet", "db", "sts", false);
    let sts = || Some(vec!["sts".to_owned()]);
    let job = || Some(vec!["job".to_owned()]);
    for (what, now, expected) in [
        ("another set of the name", vec![stale], None),
        ("another pod of the name", vec![stale_pod], None),
        ("another controller", vec![foreign.clone()], None),
        ("another controller beside ours", vec![foreign, ours], job()),
        (
            "another owner",
            vec![friend],
            Some(vec!["job".to_owned(), "sts".to_owned()]),
        ),
        ("ours, which controls nothing", vec![weak], sts()),
    ] {
        assert_eq!(owners(&set, "db-1", &now), expected, "{what}");
    }
}
