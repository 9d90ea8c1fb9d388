//! The API server: HTTP, authentication, authorization, admission, REST verbs, watch cache.
//!
//! ```text
//! bytes -> server (TLS, HTTP) -> route: one typed request -> handle: authn, authz, limits
//!            -> rest: decode, options -> write: defaults, admission, strategy, validation, one commit -> store
//!            <- cache: objects and rings, fed by the store's commits
//! ```
//!
//! A write goes to the store only; everything a client reads comes from the [`cache`], which follows the store's commit stream
//! and serves stored bytes without parsing them. Kinds are values of a set that changes while requests run ([`registry`]): no code here names one, but for
//! what only pods, nodes and namespaces have. Where security meets the core is [`request`].
//!
//! Rejected: a task or a queue per watcher (a watcher is a cursor into a shared ring), reads from the store (it would have to be
//! parsed and encoded again), a framework's router (paths of the API are one rule, not a tree of patterns).

mod aggregation;
mod backend;
pub mod body;
pub mod bootstrap;
mod core;
mod discovery;
mod handlers;
mod kubelet;
mod metadata;
pub mod negotiate;
mod openapi;
mod passing;
pub mod protobuf;
mod respond;
mod rest;
pub mod server;
mod socket;
mod verbs;
pub mod yaml;

pub use rest::continuation;
pub use server::{Config, EVENT_TTL, Error, LocalService, Server};
