use serde_json::{Value, json};

use super::*;
use crate::fixtures::seen;

const FATE: Fate = Fate {
    start: Duration::from_secs(2),
    stop: Duration::from_secs(3),
    run: None,
    fails: false,
};

fn pod(policy: &str, status: Value) -> Pod {
    seen(&json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy}, "status": status}))
}

fn begun(policy: &str) -> Pod {
    pod(
        policy,
        json!({"phase": "Pending", "startTime": "2030-01-01T00:00:00Z"}),
    )
}

fn running(policy: &str, ready: &str) -> Pod {
    pod(
        policy,
        json!({"phase": "Running", "startTime": "2030-01-01T00:00:00Z",
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"restartCount": 2, "state": {"running": {}}}]}),
    )
}

fn backs_off(policy: &str) -> Pod {
    pod(
        policy,
        json!({"phase": "Running", "startTime": "2030-01-01T00:00:00Z",
        "containerStatuses": [{"restartCount": 2, "state": {"waiting": {}}}]}),
    )
}

fn leaving(mut pod: Pod, grace: u64) -> Pod {
    pod.grace = Some(Duration::from_secs(grace));
    pod
}

fn wait(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

fn end(phase: Phase, exit: i32) -> Step {
    Step::Update(StatusUpdate::Ended { phase, exit })
}

fn again(restarts: i32, exit: i32) -> Step {
    Step::Update(StatusUpdate::BacksOff { restarts, exit })
}

#[test]
fn pods_live_as_kubelets_have_them() {
    let runs = Step::Update(StatusUpdate::Runs);
    let short = Fate {
        run: Some(Duration::from_secs(5)),
        ..FATE
    };
    let fails = Fate {
        fails: true,
        ..FATE
    };
    let ended = |phase| {
        pod(
            "Never",
            json!({"phase": phase, "startTime": "2030-01-01T00:00:00Z"}),
        )
    };
    for (what, pod, fate, elapsed, expected) in [
        (
            "new",
            pod("Always", json!({})),
            FATE,
            0,
            Step::Update(StatusUpdate::Begun),
        ),
        ("starting", begun("Always"), FATE, 1, wait(1)),
        ("started", begun("Always"), FATE, 2, runs),
        (
            "running",
            running("Always", "True"),
            FATE,
            999,
            Step::Nothing,
        ),
        (
            "declared unready",
            running("Always", "False"),
            FATE,
            0,
            runs,
        ),
        ("works", running("Never", "True"), short, 4, wait(1)),
        (
            "done",
            running("Never", "True"),
            short,
            5,
            end(Phase::Succeeded, 0),
        ),
        (
            "done, on failure",
            running("OnFailure", "True"),
            short,
            5,
            end(Phase::Succeeded, 0),
        ),
        (
            "done, for ever",
            running("Always", "True"),
            short,
            5,
            again(3, 0),
        ),
        (
            "fails for good",
            begun("Never"),
            fails,
            2,
            end(Phase::Failed, 1),
        ),
        ("fails", begun("Always"), fails, 2, again(1, 1)),
        (
            "fails, on failure",
            begun("OnFailure"),
            fails,
            2,
            again(1, 1),
        ),
        ("backs off", backs_off("Always"), fails, 19, wait(1)),
        ("fails again", backs_off("Always"), fails, 20, again(3, 1)),
        ("is better", backs_off("Always"), FATE, 20, runs),
        ("succeeded", ended("Succeeded"), FATE, 0, Step::Nothing),
        (
            "stops",
            leaving(running("Always", "True"), 30),
            FATE,
            2,
            wait(1),
        ),
        (
            "stopped",
            leaving(running("Always", "True"), 30),
            FATE,
            3,
            end(Phase::Failed, 143),
        ),
        (
            "has no time",
            leaving(running("Always", "True"), 0),
            FATE,
            0,
            end(Phase::Failed, 143),
        ),
        (
            "has ended and leaves",
            leaving(ended("Failed"), 30),
            FATE,
            0,
            Step::Remove,
        ),
        (
            "never began",
            leaving(pod("Always", json!({})), 30),
            FATE,
            0,
            Step::Remove,
        ),
    ] {
        let step = step(&pod, &fate, Duration::from_secs(elapsed));
        assert_eq!(step, expected, "{what}");
    }
}

#[test]
fn pauses_grow() {
    for (restarts, seconds) in [
        (0, 10),
        (1, 10),
        (2, 20),
        (5, 160),
        (6, 300),
        (i32::MAX, 300),
    ] {
        assert_eq!(backoff(restarts).as_secs(), seconds, "{restarts}");
    }
}
