use expect_test::expect;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Counted, unstated};

const PODS: Counted<'_> = Counted {
    group: "",
    resource: "pods",
};

fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().expect("a time")
}

fn line(counted: Counted<'_>, object: &Value) -> String {
    let usage = counted.usage(object, now());
    let pairs: Vec<String> = usage
        .iter()
        .map(|(name, q)| format!("{name}={q}"))
        .collect();
    pairs.join(" ")
}

fn core(resource: &str) -> Counted<'_> {
    Counted {
        group: "",
        resource,
    }
}

fn pod(more: Value) -> Value {
    let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "2Mi", "x.y/z": "3"},
        "limits": {"cpu": "2", "hugepages-2Mi": "2Mi"}}}]}});
    if let (Some(pod), Value::Object(more)) = (pod.as_object_mut(), more) {
        pod.extend(more);
    }
    pod
}

#[test]
fn objects_and_what_they_use() {
    let deleted =
        |at: &str| json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}});
    let mut heavy = pod(json!({}));
    heavy["spec"]["overhead"] = json!({"cpu": "100m", "memory": "1Mi"});
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    let service = |more: Value| {
        let mut spec = json!({"ports": ports});
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        json!({"spec": spec})
    };
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}}});
    let lines = [
        line(PODS, &pod(json!({}))),
        line(PODS, &heavy),
        line(PODS, &pod(json!({"status": {"phase": "Failed"}}))),
        line(PODS, &pod(deleted("2030-01-01T11:59:50Z"))),
        line(PODS, &pod(deleted("2030-01-01T11:59:00Z"))),
        line(core("services"), &service(json!({}))),
        line(core("services"), &service(json!({"type": "NodePort"}))),
        line(core("services"), &service(json!({"type": "LoadBalancer"}))),
        line(
            core("services"),
            &service(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false})),
        ),
        line(core("secrets"), &json!({})),
        line(
            Counted {
                group: "apps",
                resource: "deployments",
            },
            &json!({}),
        ),
        line(core("persistentvolumeclaims"), &claim),
    ]
    .join("\n");
    expect![[r#"
        count/pods=1 cpu=1 hugepages-2Mi=2Mi limits.cpu=2 memory=1Gi pods=1 requests.cpu=1 requests.hugepages-2Mi=2Mi requests.memory=1Gi requests.x.y/z=3
        count/pods=1 cpu=1100m hugepages-2Mi=2Mi limits.cpu=2100m memory=1025Mi pods=1 requests.cpu=1100m requests.hugepages-2Mi=2Mi requests.memory=1025Mi requests.x.y/z=3
        count/pods=1
        count/pods=1 cpu=1 hugepages-2Mi=2Mi limits.cpu=2 memory=1Gi pods=1 requests.cpu=1 requests.hugepages-2Mi=2Mi requests.memory=1Gi requests.x.y/z=3
        count/pods=1
        count/services=1 services=1 services.loadbalancers=0 services.nodeports=0
        count/services=1 services=1 services.loadbalancers=0 services.nodeports=2
        count/services=1 services=1 services.loadbalancers=1 services.nodeports=2
        count/services=1 services=1 services.loadbalancers=1 services.nodeports=1
        count/secrets=1 secrets=1
        count/deployments.apps=1
        count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/requests.storage=2 persistentvolumeclaims=1 requests.storage=2"#]].assert_eq(&lines);
}

#[test]
fn which_resources_are_whose() {
    for (counted, name, expected) in [
        (PODS, "pods", true),
        (PODS, "count/pods", true),
        (PODS, "limits.ephemeral-storage", true),
        (PODS, "requests.storage", false),
        (PODS, "requests.x.y/z", true),
        (PODS, "x.y/z", false),
        (PODS, "hugepages-1Gi", true),
        (PODS, "services", false),
        (core("services"), "services.nodeports", true),
        (core("services"), "count/services", true),
        (core("secrets"), "secrets", true),
        (core("endpoints"), "endpoints", false),
        (
            Counted {
                group: "apps",
                resource: "secrets",
            },
            "secrets",
            false,
        ),
        (
            Counted {
                group: "apps",
                resource: "secrets",
            },
            "count/secrets.apps",
            true,
        ),
        (
            core("persistentvolumeclaims"),
            "gold.storageclass.storage.k8s.io/requests.storage",
            true,
        ),
        (core("persistentvolumeclaims"), "requests.storage", true),
        (core("persistentvolumeclaims"), "requests.cpu", false),
    ] {
        assert_eq!(counted.uses(name), expected, "{counted:?} {name}");
    }
}

#[test]
fn scopes() {
    let best_effort = json!({"spec": {"containers": [{"name": "c"}]}});
    let mut ends = pod(json!({}));
    ends["spec"]["activeDeadlineSeconds"] = json!(5);
    let mut gold = pod(json!({}));
    gold["spec"]["priorityClassName"] = json!("gold");
    let mut social = pod(json!({}));
    social["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"podAffinityTerm": {"namespaces": ["other"]}}]}});
    let pods = [&best_effort, &ends, &gold, &social];
    let list = |scope: &str| json!({"spec": {"scopes": [scope]}});
    let rule = |operator: &str, values: Value| {
        json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}})
    };
    for (quota, expected) in [
        (json!({}), [true, true, true, true]),
        (list("BestEffort"), [true, false, false, false]),
        (list("NotBestEffort"), [false, true, true, true]),
        (list("Terminating"), [false, true, false, false]),
        (list("NotTerminating"), [true, false, true, true]),
        (list("PriorityClass"), [false, false, true, false]),
        (
            list("CrossNamespacePodAffinity"),
            [false, false, false, true],
        ),
        (list("VolumeAttributesClass"), [false, false, false, false]),
        (
            rule("In", json!(["gold", "x"])),
            [false, false, true, false],
        ),
        (rule("NotIn", json!(["gold"])), [true, true, false, true]),
        (rule("Exists", json!([])), [false, false, true, false]),
        (rule("DoesNotExist", json!([])), [true, true, false, true]),
    ] {
        let found = pods.map(|pod| PODS.in_scopes(&quota, pod));
        assert_eq!(found, expected, "{quota}");
    }
    assert!(!core("services").in_scopes(&list("BestEffort"), &json!({})));
    assert!(core("services").in_scopes(&json!({}), &json!({})));
}

#[test]
fn what_containers_must_state() {
    let pod = json!({"spec": {
        "containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}],
        "initContainers": [{"name": "i", "resources": {"limits": {"memory": "1"}, "requests": {"memory": "1", "cpu": "1"}}}],
    }});
    let names = [
        "requests.cpu",
        "limits.memory",
        "memory",
        "pods",
        "requests.ephemeral-storage",
    ];
    assert_eq!(
        unstated(&pod, names.into_iter()).as_deref(),
        Some("must specify limits.memory for: a,b; memory for: a,b; requests.cpu for: b")
    );
    assert_eq!(unstated(&pod, ["pods"].into_iter()), None);
    let mut whole = pod;
    whole["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(unstated(&whole, names.into_iter()), None);
}
