//! Calls with a deadline, to whichever endpoint answers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;
use knarr_store::{Error, Result};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{
    Address, ConnectError, Tls,
    api::{
        CompactionRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchRequest,
        WatchResponse, kv_client::KvClient, watch_client::WatchClient,
    },
    errors, messages,
};

/// How long one endpoint may take: longer than etcd itself waits for a leader.
const ATTEMPT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
/// Between rounds of all endpoints.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How soon a connection that has died is noticed; etcd refuses pings more often than every 5 s.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// As etcd's own clients: what bounds a message is what was asked for.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// The endpoints, and which of them answers.
pub(crate) struct Calls {
    endpoints: Vec<(String, Channel)>,
    current: AtomicUsize,
    /// Of a call in all, with what is tried again.
    deadline: Duration,
}

/// Whether a call that failed may be made again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It changes nothing.
    Always,
    /// Only where it was not sent.
    Unsent,
}

impl Calls {
    pub(crate) fn new(
        address: &Address,
        tls: Option<&Tls>,
        deadline: Duration,
    ) -> Result<Calls, ConnectError> {
        let endpoints = address.endpoints().iter();
        let endpoints: Result<Vec<_>, ConnectError> = endpoints
            .map(|endpoint| Ok((endpoint.clone(), channel(endpoint, tls)?)))
            .collect();
        Ok(Calls {
            endpoints: endpoints?,
            current: AtomicUsize::new(0),
            deadline,
        })
    }

    /// A linearizable read of nothing: the revision of the store.
    pub(crate) async fn revision(&self) -> Result<u64> {
        let response = self.range(&messages::nothing()).await?;
        Ok(messages::revision(response.header.as_ref()))
    }

    pub(crate) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        self.call(Again::Always, |channel| {
            let request = with_leader(request.clone());
            Box::pin(async move { kv(channel).range(request).await })
        })
        .await
    }

    pub(crate) async fn txn(&self, request: &TxnRequest) -> Result<TxnResponse> {
        self.call(Again::Unsent, |channel| {
            let request = with_leader(request.clone());
            Box::pin(async move { kv(channel).txn(request).await })
        })
        .await
    }

    pub(crate) async fn compact(&self, revision: u64) -> Result<()> {
        let request = CompactionRequest {
            revision: messages::signed(revision),
        };
        self.call(Again::Unsent, |channel| {
            let request = with_leader(request);
            Box::pin(async move { kv(channel).compact(request).await })
        })
        .await
        .map(drop)
    }

    /// Opens a stream at the current endpoint; one that cannot be opened, or breaks, is to be told with [`Calls::leave`].
    pub(crate) async fn watch(
        &self,
        request: WatchRequest,
    ) -> (usize, Result<Streaming<WatchResponse>>) {
        let (at, channel) = self.current();
        // The end of the requests would be the end of the watch.
        let requests = futures::stream::iter([request]);
        let requests = futures::StreamExt::chain(requests, futures::stream::pending());
        let mut client = WatchClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let opening = client.watch(with_leader(requests));
        let opened = match timeout_at(Instant::now() + ATTEMPT, opening).await {
            Ok(opened) => opened.map(Response::into_inner),
            Err(_) => Err(late()),
        };
        (at, opened.map_err(|status| self.error(at, &status)))
    }

    /// Uses the next endpoint from now on, if nobody has gone on already.
    pub(crate) fn leave(&self, at: usize) {
        let next = (at + 1) % self.endpoints.len();
        let left = self
            .current
            .compare_exchange(at, next, Ordering::AcqRel, Ordering::Acquire);
        if left.is_ok() && next != at {
            tracing::warn!(
                left = self.endpoints[at].0,
                to = self.endpoints[next].0,
                "etcd does not answer"
            );
        }
    }

    pub(crate) fn error(&self, at: usize, status: &Status) -> Error {
        errors::of(status, &self.endpoints[at].0)
    }

    fn current(&self) -> (usize, Channel) {
        let at = self.current.load(Ordering::Acquire);
        (at, self.endpoints[at].1.clone())
    }

    async fn call<T>(
        &self,
        again: Again,
        call: impl Fn(Channel) -> BoxFuture<'static, Result<Response<T>, Status>> + Send + Sync,
    ) -> Result<T> {
        let deadline = Instant::now() + self.deadline;
        let mut pause = PAUSE_MIN;
        let mut tried = 0usize;
        loop {
            let (at, channel) = self.current();
            let attempt = deadline.min(Instant::now() + ATTEMPT);
            let status = match timeout_at(attempt, call(channel)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => late(),
            };
            if !errors::is_unreachable(&status) {
                return Err(self.error(at, &status));
            }
            self.leave(at);
            tried = tried.saturating_add(1);
            let safe = again == Again::Always || errors::was_not_sent(&status);
            if !safe || Instant::now() + pause >= deadline {
                return Err(self.error(at, &status));
            }
            if tried.is_multiple_of(self.endpoints.len()) {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn late() -> Status {
    Status::deadline_exceeded("no answer in time")
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// A member that has lost the others says so instead of waiting for them.
fn with_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// A connection that is made when it is needed, and again after it broke.
fn channel(endpoint: &str, tls: Option<&Tls>) -> Result<Channel, ConnectError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let uri = format!("{scheme}://{endpoint}");
    let mut endpoint =
        Endpoint::from_shared(uri).map_err(|_| ConnectError::Uri(endpoint.to_owned()))?;
    endpoint = endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true);
    if let Some(tls) = tls {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(config).map_err(ConnectError::Tls)?;
    }
    Ok(endpoint.connect_lazy())
}
