use serde_json::{Value, json};

use super::*;
use crate::{
    resources::PodLimits,
    testing::{container, object, pod, sandbox},
};

/// CPU and memory, requests and limits.
fn amounts(cpu: &str, memory: &str) -> Value {
    let amounts = json!({ "cpu": cpu, "memory": memory });
    json!({ "requests": amounts, "limits": amounts })
}

fn promised(name: &str, resources: Value, policy: Value) -> Value {
    json!({ "name": name, "resources": resources, "resizePolicy": policy })
}

fn actions(containers: Vec<Value>, given: &[(&str, Value)], ended: &[&str]) -> Actions {
    let pod = pod(json!({ "containers": containers }));
    let view = View {
        sandboxes: vec![sandbox(0, 1)],
        containers: allocation::containers(&pod)
            .map(|c| {
                let state = match ended.contains(&c.name.as_str()) {
                    true => ContainerState::ContainerExited,
                    false => ContainerState::ContainerRunning,
                };
                container(&c.name, 0, state, 2, 0)
            })
            .collect(),
    };
    let given = given.iter();
    let record = Record {
        given: given
            .map(|(name, resources)| ((*name).to_owned(), object(resources.clone())))
            .collect(),
        cgroup: Some(resources::pod_limits(&pod)),
        ..Record::default()
    };
    make(&pod, &view, &record)
}

fn names(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.name.as_str()).collect()
}

#[test]
fn what_is_as_promised_stays() {
    let same = actions(
        vec![promised("a", amounts("1", "1Gi"), json!([]))],
        &[("a", amounts("1000m", "1024Mi"))],
        &[],
    );
    assert!(same.is_empty());
    let ended = actions(
        vec![promised("a", amounts("2", "1Gi"), json!([]))],
        &[("a", amounts("1", "1Gi"))],
        &["a"],
    );
    assert!(ended.is_empty());
}

#[test]
fn who_gets_less_comes_first() {
    let changed = actions(
        vec![
            promised("a", amounts("2", "1Gi"), json!([])),
            promised("b", amounts("1", "2Gi"), json!([])),
            promised("c", amounts("1", "1Gi"), json!([])),
        ],
        &[
            ("a", amounts("1", "1Gi")),
            ("b", amounts("2", "1Gi")),
            ("c", amounts("1", "1Gi")),
        ],
        &[],
    );
    assert_eq!(names(&changed.cpu), ["b", "a"]);
    assert_eq!(names(&changed.memory), ["b"]);
    assert!(changed.restart.is_empty() && !changed.pod);
}

#[test]
fn some_have_to_be_started_anew() {
    let policy = json!([
        { "resourceName": "cpu", "restartPolicy": "NotRequired" },
        { "resourceName": "memory", "restartPolicy": "RestartContainer" },
    ]);
    let before = amounts("1", "1Gi");
    for (now, restarts) in [(amounts("2", "1Gi"), false), (amounts("2", "2Gi"), true)] {
        let changed = actions(
            vec![promised("a", now.clone(), policy.clone())],
            &[("a", before.clone())],
            &[],
        );
        assert_eq!(changed.restart.len(), usize::from(restarts), "{now}");
        assert_eq!(changed.cpu.is_empty(), restarts, "{now}");
        if restarts {
            let kill = &changed.restart[0];
            assert_eq!(kill.message, "Container a resize requires restart");
        }
    }
    // Nobody knows what it has: it is told, not ended.
    let unknown = actions(vec![promised("a", before, policy)], &[], &[]);
    assert!(unknown.restart.is_empty());
    assert_eq!(names(&unknown.memory), ["a"]);
}

#[test]
fn the_pods_cgroup_follows() {
    let pod = pod(json!({ "containers": [promised("a", amounts("1", "1Gi"), json!([]))] }));
    let view = View::default();
    for (set, changes) in [
        (None, false),
        (Some(resources::pod_limits(&pod)), false),
        (Some(PodLimits::default()), true),
    ] {
        let record = Record {
            cgroup: set,
            ..Record::default()
        };
        assert_eq!(make(&pod, &view, &record).changes(), changes, "{set:?}");
    }
}
