//! A node's heartbeat: its Lease in `kube-node-lease`, renewed every ten seconds (upstream `component-helpers/lease`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::errors;

/// Where node leases are.
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";
/// For how long a renewal promises that the node is alive, in seconds (kubelet `nodeLeaseDurationSeconds`).
pub const LEASE_DURATION_SECONDS: i32 = 40;
/// Between renewals this part of the duration passes.
const RENEWALS: u32 = 4;
/// What that is of the usual duration.
pub const RENEW_INTERVAL: Duration =
    Duration::from_secs(LEASE_DURATION_SECONDS.unsigned_abs() as u64 / RENEWALS as u64);
/// The interval is stretched by up to this share, so that nodes do not renew in step.
const RENEW_JITTER: f64 = 0.04;
/// Longest wait for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause after a failure (upstream: 7 s).
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Keeps one node's lease renewed.
pub struct NodeLease {
    api: Api<Lease>,
    node: String,
    node_uid: Option<String>,
    duration_seconds: i32,
    /// As last written, so that a renewal is one conditional PUT.
    current: Option<Lease>,
}

impl NodeLease {
    /// `node_uid` makes the Node the lease's owner, so that both go together; without it the lease stays behind.
    pub fn new(client: kube::Client, node: impl Into<String>, node_uid: Option<String>) -> Self {
        let api = Api::namespaced(client, NODE_LEASE_NAMESPACE);
        Self {
            api,
            node: node.into(),
            node_uid,
            duration_seconds: LEASE_DURATION_SECONDS,
            current: None,
        }
    }

    /// Has renewals promise that the node is alive for so many seconds, which are positive.
    #[must_use]
    pub fn lasting(mut self, seconds: i32) -> Self {
        self.duration_seconds = seconds.max(1);
        self
    }

    /// Time between renewals.
    fn interval(&self) -> Duration {
        Duration::from_secs(self.duration_seconds.unsigned_abs().into()) / RENEWALS
    }

    /// How long to wait before the next renewal, a little longer each time than the interval.
    pub fn pause(&self) -> Duration {
        self.interval()
            .mul_f64(1.0 + RENEW_JITTER * fastrand::f64())
    }

    /// Renews until `token` is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        let renewing = async {
            let mut retry = RETRY_MIN;
            loop {
                let wait = match timeout(REQUEST_TIMEOUT, self.renew()).await {
                    Ok(Ok(())) => {
                        retry = RETRY_MIN;
                        self.pause()
                    }
                    failed => {
                        let error = match failed {
                            Ok(Err(error)) => errors::message(&error),
                            _ => "timed out".to_owned(),
                        };
                        // Whatever is there now has to be read again.
                        self.current = None;
                        tracing::warn!(node = self.node, error, retry_in = ?retry, "node lease not renewed");
                        let wait = retry;
                        retry = (retry * 2).min(RETRY_MAX);
                        wait
                    }
                };
                tokio::time::sleep(wait).await;
            }
        };
        token.run_until_cancelled(renewing).await;
    }

    /// One renewal, creating the lease where it is missing.
    ///
    /// # Errors
    /// What the server answered; the next call starts by reading the lease.
    pub async fn renew(&mut self) -> Result<(), kube::Error> {
        let known = match self.current.take() {
            Some(lease) => Some(lease),
            None => self.api.get_opt(&self.node).await?,
        };
        let written = match known {
            Some(lease) => {
                let renewed = self.compose(Some(lease), Timestamp::now());
                match self
                    .api
                    .replace(&self.node, &PostParams::default(), &renewed)
                    .await
                {
                    Err(error) if errors::is_not_found(&error) => self.create().await?,
                    result => result?,
                }
            }
            None => self.create().await?,
        };
        self.current = Some(written);
        Ok(())
    }

    async fn create(&self) -> Result<Lease, kube::Error> {
        self.api
            .create(
                &PostParams::default(),
                &self.compose(None, Timestamp::now()),
            )
            .await
    }

    fn compose(&self, known: Option<Lease>, now: Timestamp) -> Lease {
        let mut lease = known.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.node.clone()),
                namespace: Some(NODE_LEASE_NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        if let Some(uid) = &self.node_uid
            && lease
                .metadata
                .owner_references
                .as_ref()
                .is_none_or(Vec::is_empty)
        {
            lease.metadata.owner_references = Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: self.node.clone(),
                uid: uid.clone(),
                ..OwnerReference::default()
            }]);
        }
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.node.clone());
        spec.lease_duration_seconds = Some(self.duration_seconds);
        spec.renew_time = Some(MicroTime(now));
        lease
    }
}

#[cfg(test)]
mod tests;
