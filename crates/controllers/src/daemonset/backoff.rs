//! How long a failed pod stays before it is deleted and another one takes its place: longer each time it fails on a node.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Whose pods, of which generation, on which node.
type Place = (String, i64, String);

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Without a failure for this time a place is as good as new.
const FORGOTTEN: Duration = Duration::from_secs(2 * 15 * 60);

struct Failure {
    delay: Duration,
    at: Instant,
}

#[derive(Default)]
pub(crate) struct Backoff {
    failures: Mutex<HashMap<Place, Failure>>,
}

impl Backoff {
    /// How long a failed pod has to stay still.
    pub(crate) fn left(&self, uid: &str, generation: i64, node: &str) -> Option<Duration> {
        let failures = self.failures.lock();
        let failure = failures.get(&(uid.to_owned(), generation, node.to_owned()))?;
        let left = failure.delay.saturating_sub(failure.at.elapsed());
        (!left.is_zero()).then_some(left)
    }

    /// A failed pod is deleted: the next one has to wait.
    pub(crate) fn failed(&self, uid: &str, generation: i64, node: &str) {
        let mut failures = self.failures.lock();
        failures.retain(|_, failure| failure.at.elapsed() <= FORGOTTEN);
        let now = Instant::now();
        failures
            .entry((uid.to_owned(), generation, node.to_owned()))
            .and_modify(|failure| {
                failure.delay = (failure.delay * 2).min(LONGEST);
                failure.at = now;
            })
            .or_insert(Failure {
                delay: FIRST,
                at: now,
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_failure_waits_longer() {
        let backoff = Backoff::default();
        let left = || backoff.left("ds", 1, "n").map(|left| left.as_secs());
        assert_eq!(left(), None, "the first one goes at once");
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            backoff.failed("ds", 1, "n");
            assert_eq!(left(), Some(expected));
        }
        assert_eq!(backoff.left("ds", 1, "m"), None, "another node");
        assert_eq!(backoff.left("ds", 2, "n"), None, "another generation");
        tokio::time::advance(LONGEST).await;
        assert_eq!(left(), None);
        tokio::time::advance(FORGOTTEN).await;
        backoff.failed("ds", 1, "n");
        assert_eq!(left(), Some(1), "forgotten");
    }
}
