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
pub(crate) enum StatusUpdate {
    Begun,
    Runs,
    BacksOff { restarts: i32, exit: i32 },
    Ended { phase: Phase, exit: i32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Wait(Duration),
    Update(StatusUpdate),
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
        Stage::New => Step::Update(StatusUpdate::Begun),
        Stage::Begun if fate.fails => after(fate.start, Step::Update(ended(pod, FAILURE))),
        Stage::Begun => after(fate.start, Step::Update(StatusUpdate::Runs)),
        // The node was away, and others have said so.
        Stage::Runs if !pod.is_ready => Step::Update(StatusUpdate::Runs),
        Stage::Runs => match fate.run {
            Some(run) => after(run, Step::Update(ended(pod, SUCCESS))),
            None => Step::Nothing,
        },
        Stage::BacksOff(restarts) => {
            let then = match fate.fails {
                true => ended(pod, FAILURE),
                false => StatusUpdate::Runs,
            };
            after(backoff(restarts), Step::Update(then))
        }
        Stage::Ended => Step::Nothing,
        Stage::Leaves if pod.has_ended() || !pod.is_begun => Step::Remove,
        Stage::Leaves => {
            let stopped = StatusUpdate::Ended {
                phase: Phase::Failed,
                exit: TERMINATED,
            };
            let due = fate.stop.min(pod.grace.unwrap_or_default());
            after(due, Step::Update(stopped))
        }
    }
}

/// What becomes of a pod whose containers have ended.
fn ended(pod: &Pod, exit: i32) -> StatusUpdate {
    match (pod.policy, exit) {
        (Policy::Always, _) | (Policy::OnFailure, FAILURE) => StatusUpdate::BacksOff {
            restarts: pod.restarts.saturating_add(1),
            exit,
        },
        (_, SUCCESS) => StatusUpdate::Ended {
            phase: Phase::Succeeded,
            exit,
        },
        _ => StatusUpdate::Ended {
            phase: Phase::Failed,
            exit,
        },
    }
}

#[cfg(test)]
mod tests;
