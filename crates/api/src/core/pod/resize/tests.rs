use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::{
    core::pod::{KIND, RESIZE},
    kind::Part,
    testing::{created, update_errors, updated},
};

const PART: Part = Part::Subresource(RESIZE);

/// A burstable pod with a container, a sidecar and an init container.
fn pod() -> Value {
    let container = |name: &str, more: Value| {
        let mut container = json!({
            "name": name, "image": "i:1",
            "resources": {"requests": {"cpu": "20m", "memory": "35Mi"}, "limits": {"memory": "45Mi"}},
        });
        if let (Some(container), Value::Object(more)) = (container.as_object_mut(), more) {
            container.extend(more);
        }
        container
    };
    let restart = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
    created(
        &KIND,
        json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {
            "containers": [container("a", json!({})), container("b", json!({}))],
            "initContainers": [
                container("sidecar", json!({"restartPolicy": "Always"})),
                container("init", json!({"resizePolicy": restart})),
                container("plain", json!({})),
            ],
        }}),
    )
}

#[test]
fn only_amounts_are_taken() {
    let old = pod();
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"x": "y"});
    new["spec"]["containers"][0]["image"] = json!("evil:1");
    new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("0.025");
    new["spec"]["containers"][1]["resources"] =
        json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"memory": "2Mi"}});
    let new = updated(&KIND, new, &old, PART);
    let containers = &new["spec"]["containers"];
    assert_eq!(containers[0]["image"], "i:1");
    assert_eq!(containers[0]["resources"]["requests"]["cpu"], "25m");
    assert_eq!(containers[1]["resources"]["limits"]["memory"], "2Mi");
    assert_eq!(update_errors(&KIND, new, &old, PART), "");
}

fn check(change: impl FnOnce(&mut Value), expected: Expect) {
    let old = pod();
    let mut new = old.clone();
    change(&mut new);
    expected.assert_eq(&update_errors(&KIND, new, &old, PART));
}

#[test]
fn what_may_not_change() {
    check(|_| (), expect![""]);
    check(
        |pod| {
            let resources = &mut pod["spec"]["containers"][0]["resources"];
            *resources = json!({"requests": {"cpu": "20m"}});
        },
        expect![[r#"
            spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed
            spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"#]],
    );
    check(
        |pod| {
            for container in 0..2 {
                pod["spec"]["containers"][container]["resources"] =
                    json!({"limits": {"cpu": "1", "memory": "1Gi"}});
            }
            for container in 0..3 {
                pod["spec"]["initContainers"][container]["resources"] =
                    json!({"limits": {"cpu": "1", "memory": "1Gi"}});
            }
        },
        expect![[r#"
            spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing
            spec.initContainers[1]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized"#]],
    );
    check(
        |pod| {
            let requests = &mut pod["spec"]["containers"][0]["resources"]["requests"];
            requests["ephemeral-storage"] = json!("1");
        },
        expect!["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    check(
        |pod| {
            pod["spec"]["containers"][0]["resizePolicy"] =
                json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
            pod["spec"]["initContainers"][0]["resources"]["requests"]["x/y"] = json!("1");
            pod["spec"]["initContainers"][0]["resources"]["limits"]["x/y"] = json!("1");
        },
        expect![[r#"
            spec: Forbidden: only cpu and memory resources are mutable
            spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable"#]],
    );
    check(
        |pod| {
            if let Some(containers) = pod["spec"]["containers"].as_array_mut() {
                containers.reverse();
            }
        },
        expect![[r#"
            spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize
            spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"#]],
    );
    check(
        |pod| {
            if let Some(containers) = pod["spec"]["initContainers"].as_array_mut() {
                containers.pop();
            }
        },
        expect![
            "spec.initContainers: Forbidden: initContainers may not be added or removed on resize"
        ],
    );
    check(
        |pod| {
            pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!("46Mi");
        },
        expect![[
            r#"spec.containers[0].resources.requests: Invalid value: "46Mi": must be less than or equal to memory limit of 45Mi"#
        ]],
    );
}

#[test]
fn pods_that_are_not_resized() {
    let bigger = |old: &Value| {
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("30m");
        update_errors(&KIND, new, old, PART)
    };
    let mut mirror = pod();
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(
        bigger(&mirror),
        ": Forbidden: static pods cannot be resized"
    );
    let mut windows = pod();
    windows["spec"]["os"] = json!({"name": "windows"});
    assert_eq!(
        bigger(&windows),
        ": Forbidden: windows pods cannot be resized"
    );
    let mut elsewhere = pod();
    elsewhere["status"]["containerStatuses"] = json!([
        {"name": "b", "state": {"waiting": {}}}, {"name": "a", "state": {"running": {}}},
    ]);
    assert_eq!(
        bigger(&elsewhere),
        "spec: Forbidden: Pod running on node without support for resize"
    );
    elsewhere["status"]["containerStatuses"][1]["resources"] = json!({});
    assert_eq!(bigger(&elsewhere), "");
}

#[test]
fn what_a_pod_states_as_a_whole() {
    let mut old = pod();
    old["spec"]["resources"] = json!({"requests": {"cpu": "1", "hugepages-2Mi": "2Mi"}, "limits": {"cpu": "3", "hugepages-2Mi": "2Mi"}});
    let change = |resources: Value| {
        let mut new = old.clone();
        new["spec"]["resources"] = resources;
        update_errors(&KIND, new, &old, PART)
    };
    for (resources, wanted) in [
        // Left out by a client that does not know the field.
        (Value::Null, ""),
        (
            json!({"requests": {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "2Mi"}, "limits": {"cpu": "3", "hugepages-2Mi": "2Mi"}}),
            "",
        ),
        // What is left out of requests follows from containers again.
        (
            json!({"requests": {"memory": "1Gi", "hugepages-2Mi": "2Mi"}, "limits": {"cpu": "3", "hugepages-2Mi": "2Mi"}}),
            "",
        ),
        (
            json!({"requests": {"cpu": "1", "hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}}),
            "spec.resources.limits: Forbidden: pod-level resource limits cannot be removed",
        ),
        (
            json!({"requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}, "limits": {"cpu": "3", "hugepages-2Mi": "4Mi"}}),
            "spec: Forbidden: only cpu and memory resources are mutable at pod-level",
        ),
    ] {
        assert_eq!(change(resources.clone()), wanted, "{resources}");
    }
}
