//! Parts of a cluster in this process: what happens when one that must not end does, and how they are stopped.

use std::{sync::Arc, time::Duration};

use anyhow::{Error, Result, anyhow};
use knarr_client::election::Election;
use knarr_tasks::Tasks;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Why a part that must not end has ended; clones share it.
#[derive(Clone, Debug)]
pub struct Failure(watch::Sender<Option<Arc<Error>>>);

impl Failure {
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Runs a part whose end before its stage's is a failure of the process.
    pub fn must_run(
        &self,
        tasks: &Tasks,
        name: &'static str,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let (token, failure) = (tasks.token().clone(), self.0.clone());
        tasks.spawn(name, async move {
            let result = work.await;
            if token.is_cancelled() {
                return;
            }
            let reason = match result {
                Ok(()) => anyhow!("the {name} ended by itself"),
                Err(reason) => reason.context(format!("the {name} failed")),
            };
            error!(
                error = format!("{reason:#}"),
                "a part of the cluster failed"
            );
            failure.send_replace(Some(Arc::new(reason)));
        });
    }

    /// Waits until a part ends that should not.
    pub async fn happened(&self) -> Error {
        let mut failure = self.0.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(found) => match found.as_ref() {
                Some(error) => anyhow!("{error:#}"),
                None => anyhow!("a part of the cluster ended"),
            },
            Err(_) => anyhow!("a part of the cluster ended"),
        }
    }
}

/// Runs work while this process leads, or at once where there is nothing to be elected for.
pub async fn lead<W: Future<Output = ()>>(
    election: Option<Election>,
    token: CancellationToken,
    mut work: impl FnMut(CancellationToken) -> W,
) {
    match election {
        Some(election) => election.run(token, work).await,
        None => work(token).await,
    }
}

/// Tells the tasks of a stage to end and waits for it.
pub async fn stop(stage: &str, tasks: &Tasks, deadline: Duration) {
    tasks.token().cancel();
    if timeout(deadline, tasks.stopped()).await.is_err() {
        warn!(stage, open = tasks.len(), "did not stop in time");
    }
}
