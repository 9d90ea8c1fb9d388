use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn pod(namespace: &str, name: &str) -> PodRef {
    PodRef {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("{namespace}-{name}"),
    }
}

fn wanted() -> Wanted {
    Wanted {
        volume: Arc::new(object(json!({"metadata": {"name": "v"}}))),
        driver: "d".to_owned(),
        handle: "h".to_owned(),
        pods: Vec::new(),
    }
}

fn attachment(status: Value) -> VolumeAttachment {
    object(json!({
        "metadata": {"name": "a"},
        "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        "status": status,
    }))
}

#[test]
fn conflicts_name_pods_of_the_same_namespace_only() {
    let told = pod("x", "new");
    let cases: [(&[PodRef], &str); 4] = [
        (
            &[],
            "Waiting for detach for volume \"v\" Volume is already exclusively attached to one node, waiting on detach before it can be attached to another node",
        ),
        (
            &[pod("x", "a"), pod("x", "b")],
            "Waiting for detach for volume \"v\" Volume is already used by pod(s) a, b",
        ),
        (
            &[pod("x", "a"), pod("y", "b")],
            "Waiting for detach for volume \"v\" Volume is already used by pod(s) a and 1 pod(s) in different namespaces",
        ),
        (
            &[pod("y", "b")],
            "Waiting for detach for volume \"v\" Volume is already used by 1 pod(s) in different namespaces",
        ),
    ];
    for (users, note) in cases {
        let users = users.iter().cloned().collect();
        assert_eq!(conflict(&wanted(), &told, &users), note);
    }
}

#[test]
fn pods_are_told_of_each_change_once() {
    let (mut memory, wanted, start) = (Memory::default(), wanted(), Instant::now());
    let mut ask = |status: Value, after: u64| {
        let now = start + Duration::from_secs(after);
        memory.news("a", &attachment(status), &wanted, now)
    };
    let failed = json!({"attached": false, "attachError": {"message": "no", "time": "2030-01-01T12:00:00Z"}});
    let again = json!({"attached": false, "attachError": {"message": "no", "time": "2030-01-01T12:01:00Z"}});
    let late = "timed out waiting for external-attacher of d CSI driver to attach volume h";
    assert_eq!(ask(json!({"attached": false}), 0), News::Nothing);
    assert_eq!(ask(json!({"attached": false}), 119), News::Nothing);
    assert_eq!(
        ask(json!({"attached": false}), 120),
        News::Failed(late.to_owned())
    );
    assert_eq!(ask(json!({"attached": false}), 121), News::Nothing);
    assert_eq!(ask(failed.clone(), 122), News::Failed("no".to_owned()));
    assert_eq!(ask(failed, 123), News::Nothing);
    assert_eq!(ask(again, 124), News::Failed("no".to_owned()));
    assert_eq!(ask(json!({"attached": true}), 125), News::Attached);
    assert_eq!(ask(json!({"attached": true}), 126), News::Nothing);
}

#[test]
fn conflicts_are_told_until_they_are_over() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    assert!(memory.is_new_conflict("a", now));
    assert!(!memory.is_new_conflict("a", now));
    memory.keep(|id| id != "a");
    assert!(memory.is_new_conflict("a", now));
}

#[test]
fn the_words_are_those_of_upstream() {
    assert_eq!(
        attached(&wanted()),
        "AttachVolume.Attach succeeded for volume \"v\" "
    );
    assert_eq!(
        failed(&wanted(), "no"),
        "AttachVolume.Attach failed for volume \"v\" : no"
    );
}
