//! The controllers: each makes one part of the cluster's state follow from another, one file a controller.
//!
//! Every controller has the same shape. Its struct holds informers (shared caches, read as kube-controller-manager), a client
//! (its own service account's) and a queue. Events of informers put keys into the queue; a worker's `reconcile(key)` reads the
//! informers, calls a pure planning function and executes the operations it returns. Failed keys come back later. Nothing
//! polls: timers run only for deadlines, grace periods and rate limits. To write the next one, copy `serviceaccount.rs`
//! (the smallest) or `replicaset.rs` (with a plan, expectations and adoption).
//!
//! Live reads bypass informers where upstream's do: before an adoption, in garbage collection, in namespace deletion; and where a
//! machine asks for a node's name, which only one may get.
//!
//! Rejected: a framework of generic "owned resource" controllers. What differs between controllers is most of them.

mod attach_detach;
mod bootstrap_signer;
mod bootstrap_tokens;
mod busy;
mod certificates;
mod claim_users;
mod clusterrole_aggregation;
mod conditions;
mod cronjob;
mod csr_approving;
mod csr_cleaner;
mod csr_signing;
mod daemonset;
mod deletion;
mod deployment;
mod device_taint_eviction;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod ephemeral_volume;
mod events;
mod expectations;
mod garbage_collector;
mod gone;
mod horizontal_pod_autoscaler;
mod job;
mod legacy_token_cleaner;
mod namespace;
mod node_events;
mod node_ipam;
mod node_lifecycle;
mod node_ttl;
mod owners;
mod persistent_volume;
mod pod_certificate_request_cleaner;
mod pod_control;
mod pod_events;
mod pod_gc;
mod pods;
mod protection;
mod pv_protection;
mod pvc_protection;
mod replicaset;
mod resource_claim;
mod resourcequota;
mod resources;
mod revisions;
mod root_ca;
mod runner;
mod selection;
mod served;
mod service_cidr;
pub mod service_lb;
mod serviceaccount;
mod serviceaccount_token;
mod services;
mod slices;
mod statefulset;
mod storage_version_migrator;
mod taint_eviction;
mod token_cleaner;
mod trust_bundle_publisher;
mod ttl_after_finished;
mod vac_protection;
mod validatingadmissionpolicy_status;
mod volume_expand;
mod written;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knarr_auth::tokens::SecretTokens;
use knarr_client::{Clients, Informers};
use knarr_meta::prefix::Prefix;
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;

pub use node_ipam::NodeMasks;
use runner::Context;
pub use selection::{Selection, SelectionError};

/// Longest wait for workers when the controllers are stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the controllers need to know about the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    pub selection: Selection,
    /// The ranges pods get addresses from, such as `10.42.0.0/16`, at most one a family, the primary one first; nodes get pieces of each.
    pub cluster_cidrs: Vec<Prefix>,
    /// The ranges that Services get addresses from; none where they are not known.
    pub service_cidrs: Vec<Prefix>,
    /// The prefix lengths of a node's pieces.
    pub node_cidr_masks: NodeMasks,
    /// What pods verify the API server's certificate with: published in every namespace as `kube-root-ca.crt`.
    pub root_ca_pem: String,
    /// Signs certificate requests; without it nobody does.
    pub signer: Option<Arc<knarr_x509::Authority>>,
    /// Names and addresses in the API server's certificate: no node's server gets them.
    pub server_names: Vec<String>,
    /// Signs the tokens that Secrets hold; without it nobody does.
    pub token_signer: Option<Arc<SecretTokens>>,
    /// How long a node's lease may be late before the node counts as unreachable.
    pub node_monitor_grace: Duration,
    /// Terminated pods that are kept; of more the oldest are deleted. 0 keeps all.
    pub terminated_pod_threshold: usize,
    /// For how long a token that was made with its account is not used before it is marked as invalid, and is marked before it is deleted.
    pub legacy_token_clean_up_period: Duration,
    /// What Services of type LoadBalancer get; without it they are left to another controller.
    pub service_lb: Option<service_lb::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            cluster_cidrs: vec![Prefix::new(IpAddr::from([10, 42, 0, 0]), 16)],
            service_cidrs: Vec::new(),
            node_cidr_masks: NodeMasks::default(),
            root_ca_pem: String::new(),
            signer: None,
            server_names: Vec::new(),
            token_signer: None,
            node_monitor_grace: Duration::from_secs(50),
            terminated_pod_threshold: 12_500,
            legacy_token_clean_up_period: Duration::from_secs(365 * 24 * 3600),
            service_lb: None,
        }
    }
}

/// All controllers, not yet running.
pub struct Controllers {
    config: Config,
    clients: Arc<dyn Clients>,
    informers: Informers,
}

impl Controllers {
    /// `informers` read as `system:kube-controller-manager`; `clients` make the service accounts' clients.
    pub fn new(config: Config, clients: Arc<dyn Clients>, informers: Informers) -> Self {
        Self {
            config,
            clients,
            informers,
        }
    }

    /// Runs all controllers until `token` is cancelled and their workers have ended.
    pub async fn run(self, token: CancellationToken) {
        let selection = self.config.selection.clone();
        let context = Context {
            config: self.config,
            clients: self.clients,
            informers: self.informers,
            gone: Default::default(),
            tasks: Tasks::new(token.clone()),
            token: token.clone(),
        };
        selection.start(&context);
        token.cancelled().await;
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, context.tasks.stopped())
            .await
            .is_err()
        {
            tracing::warn!("controllers did not stop in time");
        }
    }
}

#[cfg(test)]
mod exchange;
#[cfg(test)]
mod fixtures;
