use knarr_cri::v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
use serde_json::{Value, json};

use super::*;
use crate::{
    testing::{container, pod, sandbox},
    worker::memory::{Doom, Health},
};

fn view(sandboxes: Vec<knarr_cri::v1::PodSandboxStatus>, containers: Vec<ContainerStatus>) -> View {
    View {
        sandboxes,
        containers,
    }
}

fn plan_with(spec: Value, view: &View, memory: &Memory) -> Plan {
    make(&pod(spec), view, memory, &|_, _| None)
}

fn plan(spec: Value, view: &View) -> Plan {
    plan_with(spec, view, &Memory::default())
}

fn starts(plan: &Plan) -> Vec<(&str, u32)> {
    plan.start
        .iter()
        .map(|s| (s.name.as_str(), s.attempt))
        .collect()
}

fn two() -> Value {
    json!({ "containers": [{ "name": "a" }, { "name": "b" }] })
}

#[test]
fn a_new_pod_gets_a_sandbox_and_all_containers() {
    let plan = plan(two(), &View::default());
    assert_eq!(plan.sandbox, Sandbox::Create(0));
    assert_eq!(starts(&plan), [("a", 0), ("b", 0)]);
}

#[test]
fn a_running_pod_is_left_alone() {
    let view = view(
        vec![sandbox(0, 1)],
        vec![
            container("a", 0, ContainerRunning, 2, 0),
            container("b", 0, ContainerRunning, 2, 0),
        ],
    );
    let plan = plan(two(), &view);
    assert_eq!(
        (plan.sandbox, plan.start.len(), plan.kill.len(), plan.done),
        (Sandbox::Keep, 0, 0, false)
    );
}

#[test]
fn restart_policies() {
    for (policy, code, again) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 1, false),
    ] {
        let spec = json!({ "restartPolicy": policy, "containers": [{ "name": "a" }] });
        let view = view(
            vec![sandbox(0, 1)],
            vec![container("a", 0, ContainerExited, 2, code)],
        );
        let plan = plan(spec, &view);
        assert_eq!(
            starts(&plan),
            if again { vec![("a", 1)] } else { vec![] },
            "{policy} {code}"
        );
        assert_eq!(plan.done, !again, "{policy} {code}");
    }
}

#[test]
fn a_restart_waits_out_its_delay() {
    let view = view(
        vec![sandbox(0, 1)],
        vec![container("a", 3, ContainerExited, 2, 1)],
    );
    let spec = pod(json!({ "containers": [{ "name": "a" }] }));
    let delay = (Duration::from_secs(7), Duration::from_secs(10));
    let plan = make(&spec, &view, &Memory::default(), &|_, _| Some(delay));
    assert_eq!(
        plan.hold,
        [Hold {
            name: "a".into(),
            remaining: delay.0,
            delay: delay.1
        }]
    );
    assert!(plan.start.is_empty() && !plan.done);
}

#[test]
fn init_containers_go_first_and_in_order() {
    let spec = || json!({ "initContainers": [{ "name": "i" }, { "name": "j" }], "containers": [{ "name": "a" }] });
    assert_eq!(starts(&plan(spec(), &View::default())), [("i", 0)]);
    let with = |list| view(vec![sandbox(0, 1)], list);
    let i = |code| container("i", 0, ContainerExited, 2, code);
    assert_eq!(
        starts(&plan(
            spec(),
            &with(vec![container("i", 0, ContainerRunning, 2, 0)])
        )),
        []
    );
    assert_eq!(starts(&plan(spec(), &with(vec![i(1)]))), [("i", 1)]);
    assert_eq!(starts(&plan(spec(), &with(vec![i(0)]))), [("j", 0)]);
    let j = container("j", 0, ContainerExited, 3, 0);
    assert_eq!(starts(&plan(spec(), &with(vec![j, i(0)]))), [("a", 0)]);
    let mut never = spec();
    never["restartPolicy"] = json!("Never");
    let failed = plan(never, &with(vec![i(1)]));
    assert!(failed.done && failed.start.is_empty());
}

#[test]
fn sidecars_hold_the_rest_up_until_they_have_started() {
    let spec = || json!({ "initContainers": [{ "name": "s", "restartPolicy": "Always", "startupProbe": {} }], "containers": [{ "name": "a" }] });
    let view = view(
        vec![sandbox(0, 1)],
        vec![container("s", 0, ContainerRunning, 2, 0)],
    );
    assert_eq!(starts(&plan(spec(), &view)), []);
    let mut memory = Memory::default();
    memory.health.insert(
        "s-0".into(),
        Health {
            started: Some(true),
            ready: None,
        },
    );
    assert_eq!(starts(&plan_with(spec(), &view, &memory)), [("a", 0)]);
}

#[test]
fn sidecars_do_not_keep_a_pod_alive() {
    let spec = json!({ "restartPolicy": "Never", "initContainers": [{ "name": "s", "restartPolicy": "Always" }], "containers": [{ "name": "a" }] });
    let list = vec![
        container("a", 0, ContainerExited, 3, 0),
        container("s", 0, ContainerExited, 2, 1),
    ];
    assert!(plan(spec, &view(vec![sandbox(0, 1)], list)).done);
}

#[test]
fn a_dead_sandbox_is_replaced_and_everything_starts_again() {
    let mut dead = sandbox(0, 1);
    dead.state = PodSandboxState::SandboxNotready as i32;
    let list = vec![
        container("a", 2, ContainerExited, 2, 137),
        container("b", 0, ContainerRunning, 2, 0),
    ];
    let plan = plan(two(), &view(vec![dead], list));
    assert_eq!(plan.sandbox, Sandbox::Create(1));
    assert_eq!(starts(&plan), [("a", 3), ("b", 1)]);
}

#[test]
fn what_has_succeeded_does_not_run_again_in_a_new_sandbox() {
    let mut dead = sandbox(0, 1);
    dead.state = PodSandboxState::SandboxNotready as i32;
    let spec = json!({ "restartPolicy": "OnFailure", "containers": [{ "name": "a" }] });
    let plan = plan(
        spec,
        &view(vec![dead], vec![container("a", 0, ContainerExited, 2, 0)]),
    );
    assert_eq!((plan.sandbox, plan.done), (Sandbox::Keep, true));
}

#[test]
fn a_container_that_never_started_makes_room() {
    let view = view(
        vec![sandbox(0, 1)],
        vec![container("a", 0, ContainerCreated, 2, 0)],
    );
    let plan = plan(json!({ "containers": [{ "name": "a" }] }), &view);
    assert_eq!(
        plan.start,
        [Start {
            name: "a".into(),
            attempt: 0,
            replaces: Some("a-0".into())
        }]
    );
}

#[test]
fn changed_images_and_failed_probes_kill() {
    let mut running = container("a", 0, ContainerRunning, 2, 0);
    running
        .annotations
        .insert(labels::HASH.to_owned(), "other".to_owned());
    let spec = || json!({ "containers": [{ "name": "a", "image": "x" }] });
    let changed = plan(spec(), &view(vec![sandbox(0, 1)], vec![running.clone()]));
    assert_eq!(
        changed.kill[0].message,
        "Container a definition changed, will be restarted"
    );
    running.annotations.clear();
    let mut memory = Memory::default();
    memory.doomed.insert(
        "a-0".into(),
        Doom {
            message: "m".into(),
            grace: Some(3),
        },
    );
    let doomed = plan_with(spec(), &view(vec![sandbox(0, 1)], vec![running]), &memory);
    assert_eq!(
        doomed.kill,
        [Kill {
            id: "a-0".into(),
            name: "a".into(),
            message: "m".into(),
            grace: Some(3)
        }]
    );
}

#[test]
fn attempts_go_on_where_the_api_remembers_them() {
    let mut pod = pod(json!({ "containers": [{ "name": "a" }] }));
    pod.status = Some(crate::testing::object(json!({ "containerStatuses": [{
        "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 4, "containerID": "knarr://x",
    }] })));
    let plan = make(&pod, &View::default(), &Memory::default(), &|_, _| None);
    assert_eq!(starts(&plan), [("a", 5)]);
}
