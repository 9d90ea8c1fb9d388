//! How long a job waits before it replaces pods that failed: 10 s, doubled with each failure since the last success.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::finished_at;

/// After the first failure (upstream `DefaultJobPodFailureBackOff`).
const FIRST: Duration = Duration::from_secs(10);
/// At most (upstream `MaxJobPodFailureBackOff`).
const LONGEST: Duration = Duration::from_secs(600);

/// A job's failures since its last success. They are kept in memory: after a restart the wait begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// After pods that succeeded and failed since.
    pub(crate) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let ends = |pods: &[Arc<Pod>]| pods.iter().map(|pod| finished_at(pod)).collect::<Vec<_>>();
        let last_success = ends(succeeded).into_iter().max();
        let since = |end: &Timestamp| last_success.is_none_or(|success| *end > success);
        let failed: Vec<_> = ends(failed).into_iter().filter(since).collect();
        let before = match last_success {
            Some(_) => Self::default(),
            None => self,
        };
        Self {
            failures: before
                .failures
                .saturating_add(u32::try_from(failed.len()).unwrap_or(u32::MAX)),
            last: failed.into_iter().max().or(before.last),
        }
    }

    pub(crate) fn remaining(self, now: Timestamp) -> Duration {
        self.last
            .map_or(Duration::ZERO, |last| remaining(self.failures, last, now))
    }
}

/// What is left of the wait after so many failures.
pub(crate) fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let wait = FIRST
        .saturating_mul(2u32.saturating_pow(doublings))
        .min(LONGEST);
    let elapsed = Duration::try_from(last.duration_until(now)).unwrap_or(Duration::ZERO);
    wait.saturating_sub(elapsed)
}
