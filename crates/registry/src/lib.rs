//! What is stored, and how it changes: the watch cache, the write path, and the kinds that are served.
//!
//! ```text
//! write: defaults -> managed fields -> admission -> hooks -> strategy, validation -> admission -> one encoding -> one commit -> store
//! cache: objects and rings, fed by the store's commits -> bytes for whoever reads
//! ```
//!
//! It knows neither HTTP nor who is allowed what: a caller has been authorized, and has decoded what was sent. A write goes to
//! the store only; everything that is read comes from the [`cache`], which follows the store's commit stream and serves stored
//! bytes without parsing them. Kinds are values of a set that changes while requests run ([`catalog`]): no code here names one,
//! but for what only pods and namespaces have.
//!
//! Rejected: a task or a queue per watcher (a watcher is a cursor into a shared ring), reads from the store (it would have to be
//! parsed and encoded again).

use std::sync::Arc;

use knarr_admission::AdmissionChain;
use knarr_api::Kind;
use knarr_auth::UserInfo;
use knarr_store::Store;

pub mod allocators;
pub mod cache;
pub mod catalog;
mod conversion;
pub mod definitions;
pub mod discovery;
pub mod hook;
pub mod managed;
pub mod transform;
pub mod write;

/// The objects of a cluster.
pub struct Registry {
    pub cache: Arc<cache::Cache>,
    pub catalog: catalog::Catalog,
    pub store: Arc<dyn Store>,
    pub transformer: Arc<transform::Transformer>,
    pub admission: AdmissionChain,
    /// Those that convert custom resources are called through these.
    pub webhooks: Arc<knarr_webhook::Clients>,
    pub hooks: Vec<Arc<dyn hook::WriteHook>>,
    /// Applies that changed nothing.
    pub repeats: write::repeat::Repeats,
    /// Who the server's own writes are made by.
    pub own_user: UserInfo,
}

/// The store's and the cache's name of an object within its resource.
pub fn object_key(kind: &Kind, namespace: &str, name: &str) -> String {
    match kind.namespaced() {
        true => format!("{namespace}/{name}"),
        false => name.to_owned(),
    }
}
