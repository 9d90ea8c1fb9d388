//! What every request handler shares.

use std::sync::Arc;

use knarr_store::Store;

use crate::{
    backend::Backends,
    cache::Cache,
    kubelet::Kubelets,
    registry::Registry,
    request::{
        AdmissionChain, Authenticator, Authorizer, CreateHandlers, Pages, UserInfo, WriteHook,
    },
    server::{health::Health, heavy::Heavy, incoming::Drains, limits::Limits, metrics::Metrics},
    transform::Transformer,
};

/// The server without its listener.
pub struct Core {
    pub cache: Arc<Cache>,
    pub store: Arc<dyn Store>,
    pub registry: Registry,
    pub transformer: Arc<Transformer>,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: AdmissionChain,
    pub hooks: Vec<Arc<dyn WriteHook>>,
    pub handlers: CreateHandlers,
    pub pages: Pages,
    pub kubelets: Kubelets,
    pub backends: Backends,
    pub health: Health,
    /// `host:port` that discovery tells clients.
    pub advertised: String,
    pub limits: Limits,
    pub heavy: Heavy,
    pub drains: Drains,
    pub metrics: Metrics,
    /// Who the server's own writes are made by.
    pub own_user: UserInfo,
}
