//! The service proxy: what kube-proxy does, in nftables.
//!
//! ```text
//! informers (Service, EndpointSlice) -> dirty service keys -> model (which endpoints, for whom)
//!     -> rules (the service's chains and map elements) -> transaction (difference to what is applied) -> nft
//! ```
//!
//! One verdict map keyed by address, protocol and port leads to a chain a service port: a lookup costs the same with ten
//! and with ten thousand services, and a change touches its own service's chains and elements only, in one atomic
//! transaction. Changes that arrive while nft runs go into the next transaction. At start the table is replaced as a whole,
//! in one transaction too: connections live in conntrack and do not notice.
//!
//! A service address without endpoints is answered by a reject rule for whatever is still addressed to the service range
//! after translation, so that no element is needed for it.

mod model;
mod rules;
mod transaction;

use std::{collections::HashSet, net::Ipv4Addr, sync::Arc, time::Duration};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_client::{Event, Informer, Informers};
use knarr_cni::nft;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{model::ServiceKey, transaction::Applied};

/// Our nft table, family `ip`.
pub const TABLE: &str = "knarr-proxy";

/// First pause after nft refused a transaction; doubled up to [`RETRY_MAX`].
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "proxy/by-service";

/// What the proxy needs to know of the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// Sources within it keep their address when they call a service.
    pub cluster_cidr: (Ipv4Addr, u8),
    pub service_cidr: (Ipv4Addr, u8),
    /// Address of the cluster DNS Service, and where this node's own DNS server listens: every node asks its own, on a
    /// link-local address, which no endpoint may have.
    pub node_local_dns: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// What is to be synced, filled by informer handlers.
#[derive(Default)]
struct Dirty {
    keys: Mutex<HashSet<ServiceKey>>,
    wake: Notify,
}

impl Dirty {
    fn add(&self, key: ServiceKey) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }

    fn take(&self) -> HashSet<ServiceKey> {
        std::mem::take(&mut *self.keys.lock())
    }
}

/// The proxy of one node.
pub struct Proxy {
    config: Config,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    dirty: Arc<Dirty>,
}

impl Proxy {
    /// Its informers should read as `system:kube-proxy`.
    pub fn new(config: Config, informers: &Informers) -> Self {
        let services = informers.informer::<Service>();
        let slices = informers
            .informer::<EndpointSlice>()
            .with_index(BY_SERVICE, |slice| {
                service_of(slice)
                    .map(|k| k.to_string())
                    .into_iter()
                    .collect()
            });
        let dirty = Arc::new(Dirty::default());
        let marked = dirty.clone();
        services.on_event(move |event: Event<Service>| {
            let meta = &event.object().metadata;
            marked.add(ServiceKey {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
            });
        });
        let marked = dirty.clone();
        slices.on_event(move |event| {
            if let Event::Updated { old, .. } = &event
                && let Some(key) = service_of(old)
            {
                marked.add(key);
            }
            if let Some(key) = service_of(event.object()) {
                marked.add(key);
            }
        });
        Self {
            config,
            services,
            slices,
            dirty,
        }
    }

    /// Programs the node until `token` is cancelled. Rules stay behind: services go on answering while knarr restarts.
    pub async fn run(self, token: CancellationToken) {
        token.run_until_cancelled(self.sync_loop()).await;
    }

    async fn sync_loop(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        let mut applied = Applied::default();
        // The first transaction replaces whatever an earlier run left.
        let mut replace = true;
        let mut pause = RETRY_BASE;
        loop {
            let dirty = self.dirty.take();
            if dirty.is_empty() && !replace {
                self.dirty.wake.notified().await;
                continue;
            }
            let mut next = Applied::overlay(dirty.len());
            for key in &dirty {
                next.set(key.clone(), self.rules_of(key));
            }
            let script = if replace {
                transaction::replace(&self.config, &next)
            } else {
                transaction::difference(&applied, &next)
            };
            if script.is_empty() {
                continue;
            }
            match nft::apply(&script).await {
                Ok(()) => {
                    debug!(services = dirty.len(), replace, "service rules applied");
                    if replace {
                        info!(services = next.len(), "service rules are in place");
                    }
                    applied.merge(next);
                    replace = false;
                    pause = RETRY_BASE;
                }
                Err(error) => {
                    warn!(%error, "service rules were refused; replacing all of them");
                    applied.merge(next);
                    replace = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn rules_of(&self, key: &ServiceKey) -> Option<rules::ServiceRules> {
        let service = self.services.get(&key.namespace, &key.name)?;
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let ports = model::service_ports(&service, &slices, &self.config.node_name);
        Some(rules::build(key, &ports)).filter(|rules| !rules.is_empty())
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ServiceKey> {
    let labels = slice.metadata.labels.as_ref()?;
    Some(ServiceKey {
        namespace: slice.metadata.namespace.clone()?,
        name: labels.get(SERVICE_NAME_LABEL)?.clone(),
    })
}

/// Removes every rule of the proxy.
///
/// # Errors
/// When nft cannot be run or refuses.
pub async fn teardown() -> Result<(), nft::Error> {
    // Adding first makes deleting succeed when there is nothing.
    nft::apply(&format!("add table ip {TABLE}\ndelete table ip {TABLE}\n")).await
}
