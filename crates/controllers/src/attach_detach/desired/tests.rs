use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod as pod_of};

fn sources() -> Sources {
    Sources {
        pods: Informer::new(),
        claims: Informer::new(),
        volumes: Informer::new(),
        drivers: Informer::new(),
    }
}

fn user(name: &str, node: &str, more: Value) -> Pod {
    let mut spec = json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}});
    crate::fixtures::merge(&mut spec, more);
    Pod::clone(&pod_of(name, node, spec))
}

fn claim(phase: &str) -> PersistentVolumeClaim {
    object(json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "uid-c"},
        "spec": {"volumeName": "v"}, "status": {"phase": phase},
    }))
}

fn volume(holder: &str, source: Value) -> PersistentVolume {
    let mut volume = json!({
        "metadata": {"name": "v"},
        "spec": {"claimRef": {"namespace": "x", "name": "c", "uid": holder}},
    });
    crate::fixtures::merge(&mut volume["spec"], source);
    object(volume)
}

fn csi_source() -> Value {
    json!({"csi": {"driver": "d", "volumeHandle": "h"}})
}

#[test]
fn what_is_wanted_follows_from_pods_claims_and_drivers() {
    let running = json!({});
    let ended = json!({"status": {"phase": "Succeeded"}});
    let local = json!({"local": {"path": "/x"}});
    let cases = [
        (running.clone(), "Bound", "uid-c", csi_source(), None, true),
        (
            running.clone(),
            "Bound",
            "uid-c",
            csi_source(),
            Some(true),
            true,
        ),
        (
            running.clone(),
            "Bound",
            "uid-c",
            csi_source(),
            Some(false),
            false,
        ),
        (
            running.clone(),
            "Pending",
            "uid-c",
            csi_source(),
            None,
            false,
        ),
        (
            running.clone(),
            "Bound",
            "another",
            csi_source(),
            None,
            false,
        ),
        (running, "Bound", "uid-c", local, None, false),
        (ended, "Bound", "uid-c", csi_source(), None, false),
    ];
    for (more, phase, holder, source, attach, wanted) in cases {
        let case = format!("{more} {phase} {holder} {source} {attach:?}");
        let sources = sources();
        sources.pods.apply(user("p", "n", more));
        sources.claims.apply(claim(phase));
        sources.volumes.apply(volume(holder, source));
        if let Some(attach) = attach {
            let driver = json!({"metadata": {"name": "d"}, "spec": {"attachRequired": attach}});
            sources.drivers.apply(object(driver));
        }
        let found = sources.wanted("n");
        let names: Vec<_> = found.keys().cloned().collect();
        let expected = wanted.then(|| csi::attachment_name("d", "h", "n"));
        assert_eq!(names, expected.into_iter().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn inline_volumes_are_never_attached() {
    let sources = sources();
    let inline = json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": null, "csi": {"driver": "d"}}]}});
    sources.pods.apply(user("p", "n", inline));
    assert!(sources.wanted("n").is_empty());
}

#[test]
fn users_are_found_by_what_their_volume_is() {
    let sources = sources();
    sources.pods.apply(user("a", "n", json!({})));
    sources.pods.apply(user("b", "m", json!({})));
    sources.claims.apply(claim("Bound"));
    sources.volumes.apply(volume("uid-c", csi_source()));
    let names = |nodes: &[&str]| {
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let users = sources.users("d", "h", &nodes).into_iter();
        users.map(|user| user.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&["n"]), ["a"]);
    assert_eq!(names(&["n", "m"]), ["a", "b"]);
    assert!(names(&["other"]).is_empty());
}

#[test]
fn a_pod_that_goes_is_over_once_its_containers_have_stopped() {
    let going = |state: Value| {
        json!({
            "metadata": {"deletionTimestamp": "2030-01-01T12:00:00Z"},
            "status": {"containerStatuses": [
                {"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state},
            ]},
        })
    };
    let cases = [
        (json!({}), false),
        (json!({"status": {"phase": "Failed"}}), true),
        (going(json!({"running": {}})), false),
        (going(json!({"terminated": {"exitCode": 0}})), true),
        (going(json!({"waiting": {}})), true),
    ];
    for (more, over) in cases {
        let case = more.to_string();
        assert_eq!(is_over(&user("p", "n", more)), over, "{case}");
    }
}
