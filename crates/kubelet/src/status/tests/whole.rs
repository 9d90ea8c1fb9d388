//! Of the pod as a whole.

use super::*;

fn resources(requests: Value, limits: Value) -> Value {
    json!({ "requests": requests, "limits": limits })
}

/// Of a pod that waits to be started.
fn waiting(spec: Value) -> Case {
    let mut case = Case::new(spec, Vec::new());
    case.base.phase = Some("Pending".to_owned());
    case
}

/// What was told of it before, and then that it runs.
fn running(mut case: Case, set: (i64, Option<i64>, Option<i64>)) -> Case {
    case.base = object(case.make());
    case.base.phase = Some("Running".to_owned());
    let (shares, quota, memory) = set;
    case.cgroup = Some(PodLimits {
        shares,
        quota,
        memory,
    });
    case
}

fn told(case: &Case) -> (Value, Value) {
    let status = case.make();
    let of = |field: &str| status.get(field).cloned().unwrap_or_default();
    (of("resources"), of("allocatedResources"))
}

#[test]
fn a_pod_that_asks_for_nothing_has_nothing() {
    let case = waiting(one());
    assert_eq!(told(&case), (json!({}), Value::Null));
    let case = running(case, (2, None, None));
    assert_eq!(told(&case), (json!({}), Value::Null));
}

#[test]
fn a_pod_has_what_its_containers_ask_for() {
    let spec = json!({ "overhead": { "memory": "1Mi" }, "containers": [
        { "name": "a", "resources": resources(json!({ "cpu": "100m", "ephemeral-storage": "1Gi" }), json!({ "cpu": "200m" })) },
        { "name": "b", "resources": resources(json!({ "memory": "63Mi" }), json!({})) },
    ] });
    let case = waiting(spec);
    let (cpu, memory, disk) = ("100m", "64Mi", "1Gi");
    let all = json!({ "cpu": cpu, "memory": memory, "ephemeral-storage": disk });
    let limits = json!({ "cpu": "200m" });
    assert_eq!(
        told(&case),
        (resources(all.clone(), limits.clone()), all.clone())
    );
    // A limit that the cgroup does not have stays as it was told.
    let case = running(case, (102, None, None));
    let requests = json!({ "cpu": cpu, "memory": memory });
    assert_eq!(told(&case), (resources(requests, limits), all));
}

#[test]
fn a_pod_that_runs_has_what_its_cgroup_is_set_to() {
    let both = json!({ "cpu": "1", "memory": "1Gi" });
    let spec = json!({ "containers": [{ "name": "a", "resources": resources(both.clone(), both.clone()) }] });
    let mut case = running(waiting(spec), (1_024, Some(100_000), Some(1 << 30)));
    assert_eq!(
        told(&case),
        (resources(both.clone(), both.clone()), both.clone())
    );
    // A change is under way.
    case.cgroup = Some(PodLimits {
        shares: 512,
        quota: Some(50_000),
        memory: Some(1 << 29),
    });
    let set = json!({ "cpu": "500m", "memory": "512Mi" });
    let requests = json!({ "cpu": "500m", "memory": "1Gi" });
    assert_eq!(told(&case), (resources(requests, set), both));
}

#[test]
fn a_pod_has_what_is_stated_for_it() {
    let stated = resources(
        json!({ "cpu": "1m", "memory": "2Gi" }),
        json!({ "cpu": "5m" }),
    );
    let spec = json!({ "resources": stated, "containers": [
        { "name": "a", "resources": resources(json!({ "cpu": "7" }), json!({})) },
    ] });
    let case = waiting(spec);
    let allocated = json!({ "cpu": "1m", "memory": "2Gi" });
    assert_eq!(told(&case), (stated.clone(), allocated.clone()));
    // The least that a cgroup can have says nothing of what is promised.
    let case = running(case, (2, Some(1_000), None));
    assert_eq!(told(&case), (stated, allocated));
}

#[test]
fn what_a_pod_that_has_ended_had_stays() {
    let spec = json!({ "containers": [{ "name": "a", "resources": resources(json!({ "cpu": "1" }), json!({})) }] });
    let mut case = running(waiting(spec), (512, None, None));
    let before = told(&case);
    case.base = object(case.make());
    case.base.phase = Some("Failed".to_owned());
    assert_eq!(told(&case), before);
}
