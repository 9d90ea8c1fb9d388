//! Workers of a queue: what failed comes back later.

use std::{fmt, hash::Hash, time::Duration};

use knarr_client::{WorkQueue, errors};
use tokio::time::timeout;

use crate::counts::Counts;

/// Longest one piece of work may take: a request is given up by the client before.
const WORK_TIMEOUT: Duration = Duration::from_secs(120);

/// What there is to do, a piece at a time.
pub(crate) trait Work: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync;

    fn queue(&self) -> &WorkQueue<Self::Key>;
    fn counts(&self) -> &Counts;
    fn perform(&self, key: &Self::Key) -> impl Future<Output = Result<(), kube::Error>> + Send;
}

/// Works until the queue is shut down.
pub(crate) async fn work<W: Work>(of: &W) {
    let queue = of.queue();
    while let Some(key) = queue.next().await {
        // Boxed: most workers wait most of the time.
        let performed = timeout(WORK_TIMEOUT, Box::pin(of.perform(&key))).await;
        match performed {
            Ok(Ok(())) => queue.forget(&key),
            Ok(Err(error)) => {
                of.counts().failures.one();
                tracing::debug!(?key, error = errors::message(&error), "trying again later");
                queue.add_rate_limited(key.clone());
            }
            Err(_) => {
                of.counts().failures.one();
                tracing::debug!(?key, "not done within {WORK_TIMEOUT:?}, trying again later");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}
