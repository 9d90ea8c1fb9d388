use knarr_cri::v1::ContainerState::{ContainerExited, ContainerRunning};
use serde_json::{Value, json};

use super::*;
use crate::testing::{container, pod, sandbox};

fn rules() -> Value {
    json!([
        { "action": "Restart", "exitCodes": { "operator": "In", "values": [7] } },
        { "action": "RestartAllContainers", "exitCodes": { "operator": "NotIn", "values": [0, 1] } },
    ])
}

fn spec() -> Pod {
    pod(json!({
        "restartPolicy": "Never",
        "initContainers": [
            { "name": "init" },
            { "name": "side", "restartPolicy": "Always", "restartPolicyRules": rules() },
        ],
        "containers": [
            { "name": "a", "restartPolicy": "Never", "restartPolicyRules": rules() },
            { "name": "b" },
        ],
        "ephemeralContainers": [{ "name": "debug" }],
    }))
}

fn view(containers: Vec<ContainerStatus>) -> View {
    View {
        sandboxes: vec![sandbox(0, 1)],
        containers,
    }
}

#[test]
fn rules_decide_by_the_first_that_matches() {
    let check = |name: &str, code: i32, asked: bool| {
        let ended = container(name, 0, ContainerExited, 2, code);
        assert_eq!(
            is_asked_for(&spec(), &view(vec![ended])),
            asked,
            "{name} {code}"
        );
    };
    check("a", 42, true);
    check("a", 7, false);
    check("a", 0, false);
    check("side", 42, true);
    check("b", 42, false);
    check("init", 42, false);
    let running = container("a", 1, ContainerRunning, 3, 0);
    let ended = container("a", 0, ContainerExited, 2, 42);
    // What ended before the present instance has been dealt with.
    assert!(!is_asked_for(&spec(), &view(vec![running, ended])));
}

#[test]
fn who_asked_goes_last_and_ephemeral_containers_stay() {
    let view = view(vec![
        container("init", 0, ContainerExited, 2, 0),
        container("side", 0, ContainerExited, 3, 42),
        container("a", 1, ContainerExited, 6, 42),
        container("a", 0, ContainerExited, 4, 1),
        container("b", 0, ContainerRunning, 5, 0),
        container("debug", 0, ContainerRunning, 7, 0),
    ]);
    let pod = spec();
    let ids: Vec<&str> = order(&pod, &view).iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["a-0", "b-0", "init-0", "a-1", "side-0"]);
}

#[test]
fn pods_without_such_a_rule_have_no_condition() {
    assert!(is_possible(&spec()));
    let rule = json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [7] } }]);
    assert!(!is_possible(&pod(json!({
        "containers": [{ "name": "a", "restartPolicy": "Never", "restartPolicyRules": rule }],
    }))));
}
