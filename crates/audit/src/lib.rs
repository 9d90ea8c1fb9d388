//! The audit of requests: who asked for what, and what became of it.
//!
//! ```text
//! request, user --> policy: level, stages --> Record: what happens to the request --> an event a stage --> backends: log, webhook
//! ```
//!
//! Events are `audit.k8s.io/v1` to the letter, so that what reads upstream's log reads this one. Without a policy there is no
//! [`Auditor`], and a request costs what it cost before; with one, a request whose level is None costs the evaluation of rules.
//!
//! An event is encoded once, where its stage is reached, and shared by all backends. A backend in batch mode takes it or loses it,
//! and never holds up a request; in blocking mode a request waits until it is written.
//!
//! Rejected: a `tracing` layer (events have a schema, levels by rule and a delivery of their own), and writing from the request's own
//! thread as upstream does (a disk that stalls would stall all requests, not the ones that are audited).

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod annotations;
mod auditor;
mod backend;
mod event;
mod objects;
mod policy;
mod record;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::{
    annotations::Annotations,
    auditor::{Auditor, Counts, Received},
    backend::{
        Batching, Mode,
        log::{LogOptions, STDOUT},
        truncation::Truncation,
        webhook::WebhookOptions,
    },
    event::{Level, Stage},
    objects::OBJECT_BYTES,
    policy::{Policy, PolicyError},
    record::{Ending, Record},
};

/// What is audited, and where to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Without one nothing is audited.
    pub policy_file: Option<PathBuf>,
    pub log: Option<LogOptions>,
    pub webhook: Option<WebhookOptions>,
}

/// Why nothing can be audited, in upstream's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("loading audit policy file: {0}")]
    Policy(#[from] PolicyError),
    #[error("cannot use the audit log {path}")]
    Log {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("initializing audit webhook: {0}")]
    Webhook(#[from] knarr_webhook::KubeconfigError),
    #[error("{0}")]
    Invalid(String),
}
