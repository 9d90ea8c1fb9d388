//! The store's revision, for many who ask at once.

use std::sync::Arc;

use knarr_store::{Error, Result};
use knarr_tasks::Tasks;
use tokio::sync::{mpsc, oneshot};

use crate::Shared;

/// Who may wait at a time for the question to be sent.
const MAX_WAITING: usize = 4096;

type Answer = oneshot::Sender<Result<u64>>;

/// Asks etcd once for all who came while it was last asked: an answer must not be older than its question.
pub(crate) struct Revisions {
    asks: mpsc::Sender<Answer>,
}

impl Revisions {
    pub(crate) fn start(shared: Arc<Shared>, tasks: &Tasks) -> Revisions {
        let (asks, questions) = mpsc::channel(MAX_WAITING);
        let stop = tasks.token().clone();
        tasks.keep("etcd revisions", async move {
            stop.run_until_cancelled(serve(shared, questions)).await;
        });
        Revisions { asks }
    }

    /// A revision that is not below any that was committed before this call.
    pub(crate) async fn newest(&self) -> Result<u64> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

async fn serve(shared: Arc<Shared>, mut questions: mpsc::Receiver<Answer>) {
    let mut waiting = Vec::new();
    // Ends when the store is dropped.
    while questions.recv_many(&mut waiting, MAX_WAITING).await > 0 {
        let revision = shared.calls.revision().await;
        for answer in waiting.drain(..) {
            // Who gave up has dropped the other end.
            let _ = answer.send(revision.clone());
        }
    }
    // Dropped with the store, which may happen before its tasks are told.
    std::future::pending().await
}
