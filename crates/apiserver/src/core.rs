//! What every request handler shares.

use std::{collections::BTreeMap, sync::Arc};

use knarr_audit::Auditor;
use knarr_auth::{
    authn::impersonation::Impersonation,
    request::{Authenticator, Authorizer},
};
use knarr_fairness::{Fairness, watches::Watches};
use knarr_registry::Registry;

use crate::{
    aggregation::Aggregation,
    backend::Backends,
    handlers::{CreateHandlers, Pages},
    kubelet::Kubelets,
    server::{
        components::Components, health::Health, heavy::Heavy, incoming::Drains, limits::Limits,
        metrics::Metrics, peer::Proxies,
    },
};

/// The server without its listener.
pub struct Core {
    pub registry: Arc<Registry>,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub impersonation: Impersonation,
    /// `None`: nothing is audited.
    pub auditor: Option<Arc<Auditor>>,
    /// What plugins of admission were told, and have counted.
    pub admission: Arc<knarr_admission::Configuration>,
    /// How likely a request makes its HTTP/2 connection the last one of its client.
    pub goaway_chance: f64,
    pub handlers: CreateHandlers,
    pub pages: Pages,
    pub kubelets: Kubelets,
    pub backends: Backends,
    pub aggregation: Arc<Aggregation>,
    pub health: Health,
    pub components: Arc<Components>,
    /// What the program was started with, without secrets.
    pub flags: BTreeMap<String, String>,
    /// Proxies that say on whose behalf they ask.
    pub proxies: Option<Proxies>,
    /// `host:port` that discovery tells clients.
    pub advertised: String,
    pub limits: Limits,
    /// Whose turn it is, where clients ask for more than there is.
    pub fairness: Arc<Fairness>,
    /// What clients watch.
    pub watches: Arc<Watches>,
    pub heavy: Heavy,
    pub drains: Drains,
    pub metrics: Metrics,
}
