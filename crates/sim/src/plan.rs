//! What a hollow kubelet does next with a pod.

use std::time::Duration;

use crate::pod::{Phase, Pod, Policy};

/// The first pause before a container is started again, doubled each time, and the longest (upstream's kubelet).
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
const BACKOFF_LONGEST: Duration = Duration::from_secs(300);
/// What containers end with.
const SUCCESS: i32 = 0;
const FAILURE: i32 = 1;
/// Of a program that SIGTERM ended.
const TERMINATED: i32 = 143;

/// How far a pod is, as its object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    New,
    Begun,
    Runs,
    /// Waits to be started again, for the so-many-th time.
    BacksOff(i32),
    Ended,
    Leaves,
}

/// What chance has decided for this pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub start: Duration,
    pub stop: Duration,
    /// How long its containers run, if they end by themselves.
    pub run: Option<Duration>,
    pub fails: bool,
}

/// What is to be told of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Begun,
    Runs,
    BacksOff { restarts: i32, exit: i32 },
    Ended { phase: Phase, exit: i32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Wait(Duration),
    Tell(Told),
    /// Its containers are gone: so may its object be.
    Remove,
}

pub(crate) fn stage(pod: &Pod) -> Stage {
    if pod.grace.is_some() {
        return Stage::Leaves;
    }
    match pod.phase {
        Phase::Succeeded | Phase::Failed => Stage::Ended,
        Phase::Pending if pod.is_begun => Stage::Begun,
        Phase::Pending => Stage::New,
        Phase::Running if pod.is_waiting => Stage::BacksOff(pod.restarts),
        Phase::Running => Stage::Runs,
    }
}

/// How long a container waits until it is started again.
pub(crate) fn backoff(restarts: i32) -> Duration {
    let doublings = u32::try_from(restarts.saturating_sub(1)).unwrap_or(0);
    BACKOFF_FIRST
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(BACKOFF_LONGEST)
}

/// The next step of a pod that has been in its stage for so long.
pub(crate) fn step(pod: &Pod, fate: &Fate, elapsed: Duration) -> Step {
    let after = |due: Duration, then: Step| match due.checked_sub(elapsed) {
        Some(left) if !left.is_zero() => Step::Wait(left),
        _ => then,
    };
    match stage(pod) {
        Stage::New => Step::Tell(Told::Begun),
        Stage::Begun if fate.fails => after(fate.start, Step::Tell(ended(pod, FAILURE))),
        Stage::Begun => after(fate.start, Step::Tell(Told::Runs)),
        // The node was away, and others have said so.
        Stage::Runs if !pod.is_ready => Step::Tell(Told::Runs),
        Stage::Runs => match fate.run {
            Some(run) => after(run, Step::Tell(ended(pod, SUCCESS))),
            None => Step::Nothing,
        },
        Stage::BacksOff(restarts) => {
            let then = match fate.fails {
                true => ended(pod, FAILURE),
                false => Told::Runs,
            };
            after(backoff(restarts), Step::Tell(then))
        }
        Stage::Ended => Step::Nothing,
        Stage::Leaves if pod.has_ended() || !pod.is_begun => Step::Remove,
        Stage::Leaves => {
            let stopped = Told::Ended {
                phase: Phase::Failed,
                exit: TERMINATED,
            };
            let due = fate.stop.min(pod.grace.unwrap_or_default());
            after(due, Step::Tell(stopped))
        }
    }
}

/// What becomes of a pod whose containers have ended.
fn ended(pod: &Pod, exit: i32) -> Told {
    match (pod.policy, exit) {
        (Policy::Always, _) | (Policy::OnFailure, FAILURE) => Told::BacksOff {
            restarts: pod.restarts.saturating_add(1),
            exit,
        },
        (_, SUCCESS) => Told::Ended {
            phase: Phase::Succeeded,
            exit,
        },
        _ => Told::Ended {
            phase: Phase::Failed,
            exit,
        },
    }
}

#[cfg(test)]
mod tests {
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
        seen(
            &json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy}, "status": status}),
        )
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
        Step::Tell(Told::Ended { phase, exit })
    }

    fn again(restarts: i32, exit: i32) -> Step {
        Step::Tell(Told::BacksOff { restarts, exit })
    }

    #[test]
    fn pods_live_as_kubelets_have_them() {
        let runs = Step::Tell(Told::Runs);
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
                Step::Tell(Told::Begun),
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
}
