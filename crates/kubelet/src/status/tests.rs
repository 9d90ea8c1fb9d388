mod end;
mod told;
mod whole;

use knarr_cri::v1;
use knarr_cri::v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
use serde_json::{Value, json};

use super::*;
use crate::{
    testing::{container, object, pod, sandbox},
    volume::Mounted,
    worker::memory::Waiting,
};

struct Case {
    pod: Pod,
    base: PodStatus,
    view: View,
    memory: Memory,
    over: bool,
    stopped: bool,
    verdict: Option<Verdict>,
    cgroup: Option<PodLimits>,
}

impl Case {
    fn new(spec: Value, containers: Vec<v1::ContainerStatus>) -> Self {
        let view = View {
            sandboxes: vec![sandbox(0, 100)],
            containers,
        };
        Self {
            pod: pod(spec),
            base: PodStatus::default(),
            view,
            memory: Memory {
                volumes: Some(Mounted::default()),
                ..Memory::default()
            },
            over: false,
            stopped: true,
            verdict: None,
            cgroup: None,
        }
    }

    fn make(&self) -> Value {
        let at = |s| Timestamp::from_second(s).unwrap();
        let status = super::make(&Input {
            pod: &self.pod,
            base: &self.base,
            view: &self.view,
            memory: &self.memory,
            waiting: &self.memory.waiting,
            messages: &HashMap::from([("a-0".to_owned(), "bye".to_owned())]),
            given: &Requirements::new(),
            cgroup: self.cgroup,
            node_ips: vec!["192.168.0.2".to_owned(), "fd01::2".to_owned()],
            recursive_read_only: true,
            runtime: "knarr",
            seen: at(90),
            now: at(200),
            over: self.over,
            stopped: self.stopped,
            verdict: self.verdict.as_ref(),
        });
        serde_json::to_value(status).unwrap()
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == kind)
        .unwrap()
}

fn one() -> Value {
    json!({ "containers": [{ "name": "a", "image": "img" }] })
}

#[test]
fn what_keeps_containers_from_starting_is_told() {
    let mut case = Case::new(one(), vec![]);
    let condition = |case: &Case| {
        let status = case.make();
        let condition = condition(&status, "PodReadyToStartContainers");
        [
            &condition["status"],
            &condition["reason"],
            &condition["message"],
        ]
        .map(Value::clone)
    };
    let fails = |why: &str| [json!("False"), json!("PodSandboxNotReady"), json!(why)];
    assert_eq!(condition(&case), [json!("True"), Value::Null, Value::Null]);
    case.view.sandboxes[0].network = None;
    assert_eq!(condition(&case), fails("pod sandbox has no IP address"));
    case.view.sandboxes[0].state = v1::PodSandboxState::SandboxNotready as i32;
    assert_eq!(condition(&case), fails("pod sandbox is not ready"));
    case.view.sandboxes.clear();
    assert_eq!(condition(&case), fails("no pod sandbox exists"));
}

/// As upstream, whose sandboxes are made when volumes are there.
#[test]
fn a_sandbox_is_told_of_once_volumes_are_there() {
    let mut case = Case::new(one(), vec![]);
    case.memory.volumes = None;
    let told = |case: &Case| {
        let status = case.make();
        let condition = condition(&status, "PodReadyToStartContainers");
        [&condition["status"], &status["podIP"]].map(Value::clone)
    };
    assert_eq!(told(&case), [json!("False"), Value::Null]);
    // A kubelet that has just begun knows nothing of those that there are.
    let ready = [json!("True"), json!("10.42.0.7")];
    let known = case.memory.volumes.replace(Mounted::default());
    assert_eq!(told(&case), ready);
    case.base = serde_json::from_value(case.make()).unwrap();
    case.memory.volumes = known;
    assert_eq!(told(&case), ready);
    case.base = PodStatus::default();
    case.view.containers = vec![container("a", 0, ContainerRunning, 101, 0)];
    assert_eq!(told(&case), ready);
}

#[test]
fn a_running_pod_is_ready() {
    let status = Case::new(one(), vec![container("a", 0, ContainerRunning, 101, 0)]).make();
    assert_eq!(status["phase"], "Running");
    assert_eq!(
        (&status["podIP"], &status["hostIP"], &status["hostIPs"]),
        (
            &json!("10.42.0.7"),
            &json!("192.168.0.2"),
            &json!([{"ip": "192.168.0.2"}, {"ip": "fd01::2"}])
        )
    );
    assert_eq!(status["startTime"], "1970-01-01T00:01:30Z");
    assert_eq!(status["qosClass"], "BestEffort");
    for kind in [
        "Ready",
        "ContainersReady",
        "Initialized",
        "PodReadyToStartContainers",
        "PodScheduled",
    ] {
        assert_eq!(condition(&status, kind)["status"], "True", "{kind}");
    }
    let container = &status["containerStatuses"][0];
    assert_eq!(container["containerID"], "knarr://a-0");
    assert_eq!(
        (&container["ready"], &container["started"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        container["state"]["running"]["startedAt"],
        "1970-01-01T00:01:41Z"
    );
}

#[test]
fn conditions_say_of_which_generation_they_are() {
    let mut case = Case::new(one(), vec![container("a", 0, ContainerRunning, 101, 0)]);
    case.pod.metadata.generation = Some(3);
    // As the scheduler leaves it.
    case.base = object(json!({ "conditions": [{
        "type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:05Z",
    }] }));
    let status = case.make();
    for condition in status["conditions"].as_array().unwrap() {
        assert_eq!(condition["observedGeneration"], 3, "{condition}");
    }
    let scheduled = condition(&status, "PodScheduled");
    assert_eq!(scheduled["lastTransitionTime"], "1970-01-01T00:00:05Z");
}

#[test]
fn probes_gate_readiness() {
    let spec = json!({ "containers": [{ "name": "a", "readinessProbe": {} }] });
    let mut case = Case::new(spec, vec![container("a", 0, ContainerRunning, 101, 0)]);
    let status = case.make();
    assert_eq!(condition(&status, "Ready")["reason"], "ContainersNotReady");
    assert_eq!(
        condition(&status, "Ready")["message"],
        "containers with unready status: [a]"
    );
    case.memory.health.insert(
        "a-0".into(),
        Health {
            started: Some(true),
            ready: Some(true),
        },
    );
    assert_eq!(condition(&case.make(), "Ready")["status"], "True");
}

#[test]
fn conditions_of_others_gate_readiness() {
    let spec = json!({ "containers": [{ "name": "a" }], "readinessGates": [{ "conditionType": "example.com/gate" }] });
    let mut case = Case::new(spec, vec![container("a", 0, ContainerRunning, 101, 0)]);
    let started = Health {
        started: Some(true),
        ready: Some(true),
    };
    case.memory.health.insert("a-0".into(), started);
    for (gate, ready, reason) in [
        (None, "False", json!("ReadinessGatesNotReady")),
        (Some("False"), "False", json!("ReadinessGatesNotReady")),
        (Some("True"), "True", json!(null)),
    ] {
        let gates =
            gate.map(|status| object(json!([{ "type": "example.com/gate", "status": status }])));
        case.base.conditions = gates;
        let status = case.make();
        let own = condition(&status, "Ready");
        assert_eq!((&own["status"], &own["reason"]), (&json!(ready), &reason));
        assert_eq!(condition(&status, "ContainersReady")["status"], "True");
    }
}

#[test]
fn what_has_ended_for_good_does_not_wait() {
    // Its start failed, so it waits to be tried again, unless the policy says that it will not be.
    let failed = Waiting {
        reason: "RunContainerError".into(),
        message: "no such program".into(),
    };
    for (policy, state) in [("Never", "terminated"), ("Always", "waiting")] {
        let mut spec = one();
        spec["restartPolicy"] = json!(policy);
        let mut case = Case::new(spec, vec![container("a", 0, ContainerExited, 101, 128)]);
        case.memory.waiting.insert("a".into(), failed.clone());
        let status = case.make();
        let told = status["containerStatuses"][0]["state"].as_object().unwrap();
        assert!(told.contains_key(state), "{policy}: {told:?}");
    }
}

#[test]
fn transition_times_change_with_the_status_only() {
    let mut case = Case::new(one(), vec![container("a", 0, ContainerRunning, 101, 0)]);
    case.base = object(json!({ "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z" },
        { "type": "ContainersReady", "status": "False", "lastTransitionTime": "1970-01-01T00:00:01Z" },
        { "type": "Other", "status": "True" },
    ] }));
    let status = case.make();
    assert_eq!(
        condition(&status, "Ready")["lastTransitionTime"],
        "1970-01-01T00:00:01Z"
    );
    assert_eq!(
        condition(&status, "ContainersReady")["lastTransitionTime"],
        "1970-01-01T00:03:20Z"
    );
    assert_eq!(condition(&status, "Other")["status"], "True");
}

#[test]
fn a_crash_loop_shows_the_last_end() {
    let mut case = Case::new(one(), vec![container("a", 0, ContainerExited, 101, 3)]);
    let ended = case.make();
    assert_eq!(
        ended["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        3
    );
    let waiting = Waiting {
        reason: "CrashLoopBackOff".into(),
        message: "back-off 10s".into(),
    };
    case.memory.waiting.insert("a".into(), waiting);
    let status = case.make();
    let shown = &status["containerStatuses"][0];
    assert_eq!(
        shown["state"]["waiting"],
        json!({ "reason": "CrashLoopBackOff", "message": "back-off 10s" })
    );
    let last = &shown["lastState"]["terminated"];
    assert_eq!(
        (&last["reason"], &last["message"]),
        (&json!("Error"), &json!("bye"))
    );
    assert_eq!(status["phase"], "Running");
}

#[test]
fn phases() {
    let two = |policy| json!({ "restartPolicy": policy, "containers": [{ "name": "a" }, { "name": "b" }] });
    let exited = |name, code| container(name, 0, ContainerExited, 101, code);
    let running = |name| container(name, 0, ContainerRunning, 101, 0);
    for (policy, list, over, phase) in [
        ("Always", vec![], false, "Pending"),
        (
            "Always",
            vec![container("a", 0, ContainerCreated, 101, 0)],
            false,
            "Pending",
        ),
        ("Always", vec![running("a"), running("b")], false, "Running"),
        ("Never", vec![exited("a", 0)], false, "Pending"),
        ("Always", vec![running("a")], false, "Pending"),
        (
            "Never",
            vec![exited("a", 0), running("b")],
            false,
            "Running",
        ),
        (
            "Never",
            vec![exited("a", 0), exited("b", 0)],
            false,
            "Succeeded",
        ),
        (
            "Never",
            vec![exited("a", 0), exited("b", 1)],
            false,
            "Failed",
        ),
        (
            "OnFailure",
            vec![exited("a", 0), exited("b", 1)],
            false,
            "Running",
        ),
        (
            "Always",
            vec![exited("a", 0), exited("b", 0)],
            false,
            "Running",
        ),
        (
            "Always",
            vec![exited("a", 0), exited("b", 0)],
            true,
            "Succeeded",
        ),
        (
            "Always",
            vec![exited("a", 0), exited("b", 137)],
            true,
            "Failed",
        ),
        ("Always", vec![], true, "Failed"),
    ] {
        let mut case = Case::new(two(policy), list);
        case.over = over;
        assert_eq!(case.make()["phase"], phase, "{policy} over={over}");
    }
}

#[test]
fn init_containers_hold_the_pod_up() {
    let spec = json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }] });
    let status = Case::new(
        spec.clone(),
        vec![container("i", 0, ContainerRunning, 101, 0)],
    )
    .make();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(
        condition(&status, "Initialized")["message"],
        "containers with incomplete status: [i]"
    );
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodInitializing"
    );
    let done = Case::new(spec, vec![container("i", 0, ContainerExited, 101, 0)]).make();
    assert_eq!(condition(&done, "Initialized")["status"], "True");
    assert_eq!(
        done["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodInitializing"
    );
}

/// After the machine was started anew, the containers of the sandbox before do not make the pod run.
#[test]
fn a_pod_that_is_initialized_again_is_pending() {
    let spec = json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }] });
    let again = container("i", 1, ContainerRunning, 151, 0);
    let before = container("a", 0, ContainerExited, 101, 137);
    let mut case = Case::new(spec, vec![again, before]);
    case.view.sandboxes.insert(0, sandbox(1, 150));
    assert_eq!(case.make()["phase"], "Pending");
    // Beside one that has run here, an init container is nothing to wait for.
    let here = container("a", 1, ContainerExited, 152, 1);
    case.view.containers.push(here);
    case.view.containers.sort_by_key(|c| -c.created_at);
    assert_eq!(case.make()["phase"], "Running");
}

#[test]
fn a_pod_whose_init_container_has_failed_was_never_initialized() {
    let spec = json!({
        "restartPolicy": "Never", "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }],
    });
    let failed = Case::new(spec, vec![container("i", 0, ContainerExited, 101, 1)]).make();
    assert_eq!(failed["phase"], "Failed");
    let reason = |kind| &condition(&failed, kind)["reason"];
    assert_eq!(reason("Initialized"), "ContainersNotInitialized");
    assert_eq!(reason("ContainersReady"), "PodFailed");
}

#[test]
fn what_has_not_started_waits_for_the_pod_to_be_initialized() {
    let spec = json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }] });
    for list in [vec![], vec![container("i", 0, ContainerCreated, 101, 0)]] {
        let status = Case::new(spec.clone(), list).make();
        for kind in ["initContainerStatuses", "containerStatuses"] {
            let reason = &status[kind][0]["state"]["waiting"]["reason"];
            assert_eq!(reason, "PodInitializing", "{kind}");
        }
    }
}

#[test]
fn an_end_that_was_told_survives_its_record() {
    let mut case = Case::new(
        json!({ "restartPolicy": "Never", "containers": [{ "name": "a" }] }),
        vec![],
    );
    case.view = View::default();
    case.over = true;
    let told = json!({ "name": "a", "image": "i", "imageID": "x", "ready": false, "restartCount": 2, "started": false,
        "containerID": "knarr://a-2", "lastState": {}, "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } });
    case.base = object(json!({ "phase": "Succeeded", "containerStatuses": [told] }));
    let status = case.make();
    assert_eq!(status["containerStatuses"][0], told);
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(condition(&status, "Ready")["reason"], "PodCompleted");
}

#[test]
fn a_pod_that_the_node_ended_is_no_failure_of_its_own() {
    let mut case = Case::new(one(), vec![]);
    for (disruption, expected) in [(true, json!("TerminationByKubelet")), (false, Value::Null)] {
        case.verdict = Some(Verdict {
            reason: "Evicted".into(),
            message: "m".into(),
            disruption,
            rejected: false,
        });
        let status = case.make();
        assert_eq!(status["phase"], "Failed");
        assert_eq!(status["reason"], "Evicted");
        let list = status["conditions"].as_array().unwrap();
        let told = list.iter().find(|one| one["type"] == "DisruptionTarget");
        assert_eq!(
            told.map_or(Value::Null, |one| one["reason"].clone()),
            expected
        );
    }
}

/// After a reboot the runtime knows nothing, and what ran is started again.
#[test]
fn an_end_that_nobody_saw_is_a_restart() {
    let mut case = Case::new(
        json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }] }),
        vec![],
    );
    case.view = View::default();
    let ran = json!({ "name": "a", "image": "i", "imageID": "x", "ready": true, "restartCount": 2, "started": true,
        "containerID": "knarr://a-2", "state": { "running": {} } });
    case.base = object(json!({ "phase": "Running", "containerStatuses": [ran] }));
    let told = case.make()["containerStatuses"][0].clone();
    assert_eq!(told["restartCount"], 3);
    assert_eq!(told["state"]["waiting"]["reason"], "PodInitializing");
    let ended = &told["lastState"]["terminated"];
    assert_eq!(ended["reason"], "ContainerStatusUnknown");
    // Told once more it is the same restart.
    case.base = object(json!({ "phase": "Running", "containerStatuses": [told] }));
    assert_eq!(case.make()["containerStatuses"][0]["restartCount"], 3);
}

/// Somebody else's pod is put in the place of one that has ended, as soon as that is told.
#[test]
fn a_pod_has_not_ended_while_it_takes_room() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "a" }] });
    let mut case = Case::new(spec, vec![container("a", 0, ContainerExited, 101, 0)]);
    case.base = object(json!({ "phase": "Running" }));
    case.over = true;
    for (stopped, phase) in [(false, "Running"), (true, "Succeeded")] {
        case.stopped = stopped;
        let status = case.make();
        assert_eq!(status["phase"], phase, "{stopped}");
        let state = &status["containerStatuses"][0]["state"];
        assert!(state["terminated"].is_object(), "{state}");
    }
}
