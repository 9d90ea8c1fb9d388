use knarr_cri::v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
use serde_json::{Value, json};

use super::*;
use crate::{
    testing::{container, pod, sandbox},
    worker::memory::{Health, PendingKill},
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
fn a_containers_own_policy_and_rules_go_before_the_pods() {
    let rule = |operator: &str, values: &[i32]| json!([{ "action": "Restart", "exitCodes": { "operator": operator, "values": values } }]);
    for (pods, own, rules, code, again) in [
        ("Never", json!("Always"), json!([]), 0, true),
        ("Never", json!("OnFailure"), json!([]), 0, false),
        ("Never", json!("OnFailure"), json!([]), 1, true),
        ("Always", json!("Never"), json!([]), 1, false),
        ("Never", json!("Never"), rule("In", &[42]), 42, true),
        ("Never", json!("Never"), rule("In", &[42]), 5, false),
        ("Always", json!("Never"), rule("NotIn", &[42]), 42, false),
        ("Always", json!("Never"), rule("NotIn", &[42]), 5, true),
    ] {
        let container_spec =
            json!({ "name": "a", "restartPolicy": own, "restartPolicyRules": rules });
        let spec = json!({ "restartPolicy": pods, "containers": [container_spec] });
        let view = view(
            vec![sandbox(0, 1)],
            vec![container("a", 0, ContainerExited, 2, code)],
        );
        let plan = plan(spec.clone(), &view);
        let expected = if again { vec![("a", 1)] } else { vec![] };
        assert_eq!(starts(&plan), expected, "{spec} {code}");
        assert_eq!(plan.done, !again, "{spec} {code}");
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
    memory.pending_kills.insert(
        "a-0".into(),
        PendingKill {
            failed: "liveness probe".into(),
            grace: Some(3),
        },
    );
    let pending_kills = plan_with(spec(), &view(vec![sandbox(0, 1)], vec![running]), &memory);
    assert_eq!(
        pending_kills.kill,
        [Kill {
            id: "a-0".into(),
            name: "a".into(),
            message: "Container a failed liveness probe, will be restarted".into(),
            grace: Some(3),
            cause: Cause::Probe,
        }]
    );
}

#[test]
fn a_kill_says_whether_the_container_is_restarted() {
    let mut memory = Memory::default();
    memory.pending_kills.insert(
        "a-0".into(),
        PendingKill {
            failed: "startup probe".into(),
            grace: None,
        },
    );
    let view = view(
        vec![sandbox(0, 1)],
        vec![container("a", 0, ContainerRunning, 2, 0)],
    );
    let failed = "Container a failed startup probe";
    let restarted = "Container a failed startup probe, will be restarted";
    let sidecar = "Init container a failed startup probe";
    for (spec, wanted) in [
        (
            json!({ "restartPolicy": "Always", "containers": [{ "name": "a" }] }),
            restarted,
        ),
        (
            json!({ "restartPolicy": "OnFailure", "containers": [{ "name": "a" }] }),
            restarted,
        ),
        (
            json!({ "restartPolicy": "Never", "containers": [{ "name": "a" }] }),
            failed,
        ),
        (
            json!({ "restartPolicy": "Always", "containers": [{ "name": "a", "restartPolicy": "Never" }] }),
            failed,
        ),
        (
            json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "restartPolicy": "OnFailure" }] }),
            restarted,
        ),
        (
            json!({
                "restartPolicy": "Never",
                "initContainers": [{ "name": "a", "restartPolicy": "Always" }],
                "containers": [{ "name": "b" }],
            }),
            sidecar,
        ),
    ] {
        let plan = plan_with(spec.clone(), &view, &memory);
        assert_eq!(plan.kill[0].message, wanted, "{spec}");
    }
}

#[test]
fn attempts_go_on_where_the_api_remembers_them() {
    let ended = |reason: &str| json!({ "terminated": { "exitCode": 1, "reason": reason } });
    for (id, last_state, expected) in [
        ("knarr://x", json!({}), 5),
        // An end that was seen, and one that was not: the latter has been counted when it was told.
        ("", ended("Error"), 5),
        ("", ended("ContainerStatusUnknown"), 4),
        ("", json!({}), 0),
    ] {
        let mut pod = pod(json!({ "containers": [{ "name": "a" }] }));
        pod.status = Some(crate::testing::object(json!({ "containerStatuses": [{
            "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 4, "containerID": id, "lastState": last_state,
        }] })));
        let plan = make(&pod, &View::default(), &Memory::default(), &|_, _| None);
        assert_eq!(starts(&plan), [("a", expected)], "{id} {last_state}");
    }
}

#[test]
fn a_clock_that_was_set_back_starts_nothing_again() {
    let of = |sandbox: &str, mut status: ContainerStatus| {
        let annotations = &mut status.annotations;
        annotations.insert(labels::SANDBOX.to_owned(), sandbox.to_owned());
        status
    };
    let spec = || json!({ "containers": [{ "name": "a" }] });
    let earlier = of("sandbox-0", container("a", 0, ContainerRunning, 2, 0));
    let kept = plan(spec(), &view(vec![sandbox(0, 50)], vec![earlier.clone()]));
    assert_eq!((&kept.sandbox, starts(&kept)), (&Sandbox::Keep, vec![]));
    // And one of an older sandbox is not taken for the present one's.
    let next = plan(
        spec(),
        &view(vec![sandbox(1, 1), sandbox(0, 50)], vec![earlier]),
    );
    assert_eq!(starts(&next), [("a", 1)]);
}

#[test]
fn an_ended_container_stays_ended_when_its_image_changes() {
    let mut ended = container("a", 0, ContainerExited, 2, 1);
    let annotations = &mut ended.annotations;
    annotations.insert(labels::HASH.to_owned(), "other".to_owned());
    let spec =
        || json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "image": "x" }] });
    let view = view(vec![sandbox(0, 1)], vec![ended]);
    let stays = plan(spec(), &view);
    assert!(stays.done && stays.start.is_empty());
    // One that ran until the kubelet killed it for that is replaced.
    let mut memory = Memory::default();
    memory.killed.insert("a-0".into(), Cause::Definition);
    assert_eq!(starts(&plan_with(spec(), &view, &memory)), [("a", 1)]);
    memory.killed.insert("a-0".into(), Cause::Probe);
    assert!(plan_with(spec(), &view, &memory).done);
}

#[test]
fn the_end_before_the_one_that_a_probe_brought_about_counts() {
    let list = vec![
        container("a", 1, ContainerExited, 50, 137),
        container("a", 0, ContainerExited, 2, 1),
    ];
    let view = view(vec![sandbox(0, 1)], list);
    let spec = pod(json!({ "containers": [{ "name": "a" }] }));
    let delays = |memory: &Memory| {
        let asked = std::cell::RefCell::new(Vec::new());
        make(&spec, &view, memory, &|_, ended| {
            asked.borrow_mut().push(ended.id.clone());
            None
        });
        asked.into_inner()
    };
    let mut memory = Memory::default();
    assert_eq!(delays(&memory), ["a-1"]);
    memory.killed.insert("a-1".into(), Cause::Probe);
    assert_eq!(delays(&memory), ["a-0"]);
}

#[test]
fn ephemeral_containers_are_started_once() {
    let debugged = || {
        json!({
            "containers": [{ "name": "a" }],
            "ephemeralContainers": [{ "name": "debugger" }],
        })
    };
    let main = || container("a", 0, ContainerRunning, 2, 0);
    let with = |debugger: Option<(ContainerState, i32)>| {
        let debugger = debugger.map(|(state, code)| container("debugger", 0, state, 3, code));
        let all = std::iter::once(main()).chain(debugger).collect();
        plan(debugged(), &view(vec![sandbox(0, 1)], all))
    };
    for (debugger, started) in [
        (None, true),
        (Some((ContainerCreated, 0)), true),
        (Some((ContainerRunning, 0)), false),
        (Some((ContainerExited, 0)), false),
        (Some((ContainerExited, 1)), false),
    ] {
        let plan = with(debugger);
        let wanted: &[(&str, u32)] = if started { &[("debugger", 0)] } else { &[] };
        assert_eq!(starts(&plan), wanted, "{debugger:?}");
        assert!(!plan.done, "{debugger:?}");
    }
    // First its sandbox, then what looks into it.
    let new = plan(debugged(), &View::default());
    assert_eq!(starts(&new), [("a", 0)]);
    // The pod ends with its own containers.
    let spec = json!({
        "restartPolicy": "Never", "containers": [{ "name": "a" }],
        "ephemeralContainers": [{ "name": "debugger" }, { "name": "late" }],
    });
    let ended = view(
        vec![sandbox(0, 1)],
        vec![
            container("a", 0, ContainerExited, 2, 0),
            container("debugger", 0, ContainerRunning, 3, 0),
        ],
    );
    let ended = plan(spec, &ended);
    assert!(ended.done && ended.start.is_empty());
}

#[test]
fn an_ephemeral_container_that_only_the_api_remembers_stays_ended() {
    let mut pod = pod(json!({
        "containers": [{ "name": "a" }], "ephemeralContainers": [{ "name": "debugger" }],
    }));
    pod.status = Some(crate::testing::object(json!({
        "ephemeralContainerStatuses": [{
            "name": "debugger", "containerID": "knarr://x", "image": "i", "imageID": "",
            "ready": false, "restartCount": 0,
        }],
    })));
    let view = view(
        vec![sandbox(0, 1)],
        vec![container("a", 0, ContainerRunning, 2, 0)],
    );
    let plan = make(&pod, &view, &Memory::default(), &|_, _| None);
    assert!(plan.start.is_empty());
}

#[test]
fn a_pod_that_does_not_start_can_be_looked_at() {
    let spec = json!({
        "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }],
        "ephemeralContainers": [{ "name": "debugger" }],
    });
    let view = view(
        vec![sandbox(0, 1)],
        vec![container("i", 0, ContainerRunning, 2, 0)],
    );
    assert_eq!(starts(&plan(spec, &view)), [("debugger", 0)]);
}
