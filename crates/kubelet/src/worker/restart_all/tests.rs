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

/// A pod may restart all several times a second.
#[test]
fn the_newest_logs_stay() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: dir.path().to_owned(),
        ..Config::default()
    };
    let logs = config.pod_logs("ns", "p", "u").join("a");
    std::fs::create_dir_all(&logs).unwrap();
    for attempt in 0..20 {
        let log = logs.join(format!("{attempt}.log"));
        std::fs::write(&log, "x").unwrap();
        std::fs::write(logs.join(format!("{attempt}.log.20260101-000000")), "x").unwrap();
        let mut gone = container("a", attempt, ContainerExited, 2, 42);
        gone.annotations.clear();
        gone.metadata.get_or_insert_default().attempt = attempt;
        gone.log_path = log.display().to_string();
        forget(&config, &gone).unwrap();
    }
    let names = std::fs::read_dir(&logs).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
    names.sort();
    assert_eq!(names, ["15.log", "16.log", "17.log", "18.log", "19.log"]);
    assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 10);
}
