//! What every component needs to be a client of the API: shared informers, work queues, events, node leases.
//!
//! Everything sits on a plain [`kube::Client`], which is a tower service: in process it calls the API server's
//! handlers directly, elsewhere it speaks HTTPS. No component can tell which.
//!
//! Data flows one way. An [`Informer`] lists and watches one resource, decodes each object once into an `Arc`, keeps it
//! with its indexes and calls its event handlers in order. In the server's process it keeps the server's own states instead
//! (`knarr-states`), and what is decoded is shared with all other informers. Handlers put keys into a [`WorkQueue`]; workers
//! take keys, read informers, decide and write through a client of their own identity ([`Clients`]). What happened is told
//! to users by an [`events::Recorder`].
//!
//! Rejected: `kube-runtime`. Its reflector store keeps one subscriber's view, has neither indexes nor `old` objects on
//! updates, and its controller scheduler owns the loop that each of our components shapes for itself.

pub mod certificates;
pub mod clients;
pub mod csidriver;
pub mod election;
pub mod errors;
pub mod events;
pub mod informer;
pub mod informers;
pub mod lease;
pub mod queue;
mod reflector;
pub mod requests;
pub mod storagemigration;
pub mod throttle;
mod wire;

/// Label of Nodes that are on no machine (`knarr sim`); its value is the set that a node is of. No packet reaches their pods.
pub const SIMULATED_LABEL: &str = "knarr.dev/simulated";

pub use clients::Clients;
pub use informer::{Event, IndexKey, Informer, Object};
pub use informers::{InformerScope, Informers};
pub use queue::WorkQueue;
pub use reflector::Source;

#[cfg(any(test, feature = "fake"))]
pub mod fake;
