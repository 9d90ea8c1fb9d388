use knarr_api::Kind;
use serde_json::json;

use super::*;

fn kind(resource: &str) -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", resource).expect("a core kind")
}

fn options(grace: Option<i64>, propagation: Option<Propagation>) -> DeleteOptions {
    DeleteOptions {
        grace_period_seconds: grace,
        propagation_policy: propagation,
        ..DeleteOptions::default()
    }
}

fn outcome(resource: &str, current: &Value, options: &DeleteOptions) -> String {
    match plan(kind(resource), current, options) {
        Step::Wait => "wait".into(),
        Step::Remove(None) => "remove".into(),
        Step::Remove(Some(shown)) => {
            let meta = &shown["metadata"];
            assert!(meta["deletionTimestamp"].is_string());
            let grace = &meta["deletionGracePeriodSeconds"];
            format!("remove grace={grace} generation={}", meta["generation"])
        }
        Step::Mark(tree) => {
            let meta = &tree["metadata"];
            let marked = if meta["deletionTimestamp"].is_string() {
                "deleting"
            } else {
                "alive"
            };
            format!(
                "{marked} grace={} finalizers={} generation={}",
                meta["deletionGracePeriodSeconds"], meta["finalizers"], meta["generation"]
            )
        }
    }
}

fn running_pod() -> Value {
    json!({
        "metadata": {"name": "p", "generation": 1},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30, "containers": [{"name": "c"}]},
        "status": {"phase": "Running"},
    })
}

fn deleting_pod(grace: i64) -> Value {
    let mut pod = running_pod();
    pod["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:30Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    pod
}

#[test]
fn pods_go_in_two_phases() {
    let none = options(None, None);
    assert_eq!(
        outcome("pods", &running_pod(), &none),
        "deleting grace=30 finalizers=null generation=2"
    );
    let five = options(Some(5), None);
    assert_eq!(
        outcome("pods", &running_pod(), &five),
        "deleting grace=5 finalizers=null generation=2"
    );
    let now = options(Some(0), None);
    let shown = "remove grace=0 generation=2";
    assert_eq!(outcome("pods", &running_pod(), &now), shown);
    assert_eq!(outcome("pods", &deleting_pod(30), &none), "wait");
    assert_eq!(
        outcome("pods", &deleting_pod(30), &options(Some(40), None)),
        "wait"
    );
    assert_eq!(
        outcome("pods", &deleting_pod(30), &five),
        "deleting grace=5 finalizers=null generation=1"
    );
    assert_eq!(outcome("pods", &deleting_pod(30), &now), "remove");
    assert_eq!(outcome("pods", &deleting_pod(0), &none), "remove");
}

#[test]
fn a_shorter_period_moves_the_end() {
    let Step::Mark(pod) = plan(kind("pods"), &deleting_pod(30), &options(Some(5), None)) else {
        panic!("the pod is marked");
    };
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2020-01-01T00:00:05Z");
}

#[test]
fn unscheduled_pods_go_at_once() {
    let mut pod = running_pod();
    pod["spec"]["nodeName"] = json!("");
    pod["status"]["phase"] = json!("Pending");
    let shown = "remove grace=0 generation=2";
    assert_eq!(outcome("pods", &pod, &options(None, None)), shown);
}

#[test]
fn a_definition_is_held_by_what_it_does_itself() {
    let definitions = "customresourcedefinitions";
    let kind = knarr_api::built_in("apiextensions.k8s.io", "v1", definitions).expect("a kind");
    let definition = json!({"metadata": {"name": "a", "generation": 1}, "spec": {}});
    let asked = options(None, Some(Propagation::Foreground));
    let Step::Mark(marked) = plan(kind, &definition, &asked) else {
        panic!("the definition is marked");
    };
    let meta = &marked["metadata"];
    assert!(meta["deletionTimestamp"].is_string());
    assert_eq!(meta["deletionGracePeriodSeconds"], json!(null));
    assert_eq!(meta["generation"], 1);
    let finalizers = json!(["customresourcecleanup.apiextensions.k8s.io"]);
    assert_eq!(meta["finalizers"], finalizers);
}

#[test]
fn finalizers_hold() {
    let held = json!({"metadata": {"name": "a", "finalizers": ["x.io/y"]}});
    let plain = json!({"metadata": {"name": "a"}});
    let none = options(None, None);
    assert_eq!(outcome("configmaps", &plain, &none), "remove");
    assert_eq!(
        outcome("configmaps", &held, &none),
        r#"deleting grace=0 finalizers=["x.io/y"] generation=null"#
    );
    for (policy, finalizers) in [
        (Propagation::Foreground, r#"["foregroundDeletion"]"#),
        (Propagation::Orphan, r#"["orphan"]"#),
    ] {
        let wanted = format!("deleting grace=0 finalizers={finalizers} generation=null");
        assert_eq!(
            outcome("configmaps", &plain, &options(None, Some(policy))),
            wanted
        );
    }
    assert_eq!(
        outcome(
            "configmaps",
            &plain,
            &options(None, Some(Propagation::Background))
        ),
        "remove"
    );
    let mut deleting = held.clone();
    deleting["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    deleting["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    assert_eq!(outcome("configmaps", &deleting, &none), "wait");
    let orphan = json!({"metadata": {"name": "a", "finalizers": ["orphan"]}});
    assert_eq!(
        outcome(
            "configmaps",
            &orphan,
            &options(None, Some(Propagation::Background))
        ),
        "remove"
    );
    let both = DeleteOptions {
        orphan_dependents: Some(true),
        ..none
    };
    assert_eq!(
        outcome("configmaps", &plain, &both),
        r#"deleting grace=0 finalizers=["orphan"] generation=null"#
    );
}

#[test]
fn namespaces_terminate_first() {
    let namespace = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let Step::Mark(marked) = plan(kind("namespaces"), &namespace, &options(None, None)) else {
        panic!("the namespace is marked");
    };
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(outcome("namespaces", &marked, &options(None, None)), "wait");
    let mut empty = marked;
    empty["spec"]["finalizers"] = json!([]);
    assert_eq!(
        outcome("namespaces", &empty, &options(None, None)),
        "remove"
    );
}

#[test]
fn old_kinds_leave_their_dependents_unless_told() {
    let old = json!({"metadata": {"name": "rc", "generation": 1}});
    let of = |options| outcome("replicationcontrollers", &old, &options);
    assert_eq!(
        of(options(None, None)),
        r#"deleting grace=0 finalizers=["orphan"] generation=2"#
    );
    assert_eq!(of(options(None, Some(Propagation::Background))), "remove");
}
