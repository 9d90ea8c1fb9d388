use serde_json::{Value, json};

use super::*;
use crate::testing::{self, object};

fn told(quota: i64, shares: i64, memory: i64) -> Option<v1::ContainerResources> {
    Some(v1::ContainerResources {
        linux: Some(v1::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: quota,
            cpu_shares: shares,
            memory_limit_in_bytes: memory,
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn check(
    promised: Value,
    told: Option<v1::ContainerResources>,
    given: Option<Value>,
    wanted: Value,
) {
    let container = object(json!({ "name": "a", "resources": promised }));
    let running = v1::ContainerState::ContainerRunning;
    let mut status = testing::container("a", 0, running, 1, 0);
    status.resources = told;
    let given = given.map(object);
    let actual = actual(&container, &status, given.as_ref());
    assert_eq!(serde_json::to_value(actual).unwrap(), wanted, "{promised}");
}

#[test]
fn the_runtime_says_what_a_container_has() {
    let promised = json!({
        "requests": { "cpu": "25m", "memory": "40Mi", "x/y": "1" }, "limits": { "cpu": "35m", "memory": "50Mi", "x/y": "1" },
    });
    // As promised.
    let now = told(3_500, 25, 50 << 20);
    check(
        promised.clone(),
        now,
        Some(promised.clone()),
        promised.clone(),
    );
    // Not yet.
    let before = json!({
        "requests": { "cpu": "20m", "memory": "35Mi", "x/y": "1" }, "limits": { "cpu": "30m", "memory": "45Mi", "x/y": "1" },
    });
    let now = told(3_000, 20, 45 << 20);
    check(promised.clone(), now, Some(before.clone()), before.clone());
    // A runtime that does not say.
    check(promised.clone(), None, Some(before.clone()), before);
    check(promised.clone(), None, None, promised);
}

#[test]
fn what_the_kernel_cannot_tell_apart_stays_as_written() {
    let promised = json!({ "requests": { "cpu": "1m" }, "limits": { "cpu": "5m" } });
    check(promised.clone(), told(1_000, 2, 0), None, promised);
    let before = json!({ "requests": { "cpu": "20m" }, "limits": { "cpu": "30m" } });
    let promised = json!({ "requests": { "cpu": "1m" }, "limits": { "cpu": "5m" } });
    check(promised, told(3_000, 20, 0), None, before);
    // What was not asked for is not told.
    let promised = json!({ "requests": { "memory": "1Mi" } });
    check(promised.clone(), told(0, 2, 0), None, promised);
}

#[test]
fn of_one_that_does_not_run_the_promise_is_told() {
    let container = object(json!({ "name": "a", "resources": { "limits": { "cpu": "2" } } }));
    let exited = v1::ContainerState::ContainerExited;
    let mut status = testing::container("a", 0, exited, 1, 0);
    status.resources = told(1_000, 2, 0);
    let actual = actual(&container, &status, None);
    assert_eq!(actual.limits.unwrap()["cpu"].0, "2");
}
