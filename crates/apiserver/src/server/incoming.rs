//! Bodies of requests: read within a limit, and what an answer left unread drained.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use knarr_meta::status::Status;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::body::{BODY_BYTES, BoxError};

/// The body of a request, from the network or from this process.
pub enum Incoming {
    Wire(hyper::body::Incoming),
    Local(UnsyncBoxBody<Bytes, std::io::Error>),
}

impl Incoming {
    /// Whether it is known to have nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Incoming::Wire(body) => body.is_end_stream(),
            Incoming::Local(body) => body.is_end_stream(),
        }
    }

    /// The most bytes that reading it can give.
    pub fn most(&self) -> usize {
        let hint = match self {
            Incoming::Wire(body) => body.size_hint(),
            Incoming::Local(body) => body.size_hint(),
        };
        let most = hint.upper().map(usize::try_from);
        most.and_then(Result::ok)
            .map_or(BODY_BYTES, |most| most.min(BODY_BYTES))
    }

    /// Takes what is to come, for who passes it on as it comes; an empty body is left.
    pub fn take(&mut self) -> UnsyncBoxBody<Bytes, BoxError> {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        match std::mem::replace(self, Incoming::Local(empty)) {
            Incoming::Wire(body) => body.map_err(BoxError::from).boxed_unsync(),
            Incoming::Local(body) => body.map_err(BoxError::from).boxed_unsync(),
        }
    }

    /// Reads to the end, within [`BODY_BYTES`].
    pub async fn read(&mut self) -> Result<Bytes, Status> {
        let collected = match self {
            Incoming::Wire(body) if body.is_end_stream() => return Ok(Bytes::new()),
            Incoming::Wire(body) => Limited::new(body, BODY_BYTES).collect().await,
            Incoming::Local(body) => Limited::new(body, BODY_BYTES).collect().await,
        };
        match collected {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Status::request_too_large(format!("limit is {BODY_BYTES}")))
            }
            Err(error) => Err(Status::bad_request(format!(
                "unable to read the request body: {error}"
            ))),
        }
    }
}

/// Of a body that nobody wanted, this much is read, for this long.
const DRAIN_BYTES: usize = 4 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Bodies that are drained at once; beyond that their streams are reset.
const DRAINS: usize = 1024;

/// Reads on after an answer that came before its request's end: a refusal, mostly.
///
/// HTTP/2 ends such a request by resetting its stream (RFC 9113, 8.1). The reset overtakes what the client has not read yet,
/// and many clients then report the reset in place of the answer. Closing an HTTP/1.1 connection with bytes unread does the
/// same. So the answer is sent and the rest of the body read, within bounds; only then the stream is let go.
pub struct Drains {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drains {
    /// Drains run among `tasks`, until `stop` at the latest.
    pub fn new(tasks: TaskTracker, stop: CancellationToken) -> Drains {
        Drains {
            places: Arc::new(Semaphore::new(DRAINS)),
            tasks,
            stop,
        }
    }

    /// Drains what is left of a body.
    pub fn drain(&self, body: Incoming) {
        let Incoming::Wire(body) = body else {
            return;
        };
        if body.is_end_stream() {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return;
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let drained = tokio::time::timeout(DRAIN_TIME, discard(body));
            let _ = stop.run_until_cancelled(drained).await;
            drop(place);
        });
    }
}

/// Reads and forgets.
async fn discard(mut body: hyper::body::Incoming) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
