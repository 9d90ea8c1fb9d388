//! The thread on which webhooks are called, for those who wait elsewhere.

use std::{
    io,
    sync::{Arc, mpsc as blocking},
    time::Duration,
};

use bytes::Bytes;
use knarr_tasks::Tasks;
use knarr_webhook::{Bounds, Remote};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Calls that are not begun yet.
const QUEUE: usize = 256;
const ANSWER_BYTES: usize = 1 << 20;
/// More than a call may take: it ends by itself, and says why.
const GRACE: Duration = Duration::from_secs(1);

/// Calls webhooks; it ends with the value.
pub struct Caller {
    calls: mpsc::Sender<Call>,
    tasks: Tasks,
}

struct Call {
    remote: Arc<Remote>,
    review: Bytes,
    time: Duration,
    answer: blocking::SyncSender<Result<Bytes, String>>,
}

impl Caller {
    /// Within a runtime.
    pub fn start() -> io::Result<Caller> {
        let (calls, mut waiting) = mpsc::channel::<Call>(QUEUE);
        let tasks = Tasks::new(CancellationToken::new());
        tasks.keep_apart("authorization webhooks", move || async move {
            while let Some(call) = waiting.recv().await {
                knarr_tasks::spawn("a call of an authorization webhook", call.run());
            }
        })?;
        Ok(Caller { calls, tasks })
    }

    /// POSTs a review and waits for the answer's body; the error says why there is none.
    pub fn call(
        &self,
        remote: Arc<Remote>,
        review: Bytes,
        time: Duration,
    ) -> Result<Bytes, String> {
        let (answer, answered) = blocking::sync_channel(1);
        let call = Call {
            remote,
            review,
            time,
            answer,
        };
        let sent = self.calls.try_send(call);
        sent.map_err(|_| "too many calls wait".to_owned())?;
        let wait = time.saturating_add(GRACE);
        knarr_tasks::waiting(|| answered.recv_timeout(wait))
            .unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

impl Call {
    async fn run(self) {
        let bounds = Bounds {
            time: self.time,
            answer_bytes: ANSWER_BYTES,
        };
        let answer = self.remote.post(self.review, bounds).await;
        // Who waited may have gone.
        let _ = self.answer.try_send(answer.map_err(|error| error.reason()));
    }
}
