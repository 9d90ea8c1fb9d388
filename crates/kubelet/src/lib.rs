//! The kubelet: runs the pods that are bound to its node.
//!
//! Data flows in a circle. An informer and, beside it, [`sources`] of static pods bring the pods of this node; each has a [worker](worker) that compares what
//! the pod wants with what the runtime holds ([`observed`], fed by the runtime's event stream) and plans the next
//! operations as a pure function; tasks carry them out over CRI; what they and the probes bring about wakes the worker
//! again, which writes the resulting status when it differs from what the API holds. Nothing polls but the
//! listing for runtimes that have no events.
//!
//! Of what runs nothing is remembered on disk: sandboxes and containers carry labels and annotations that say whose they are, so a
//! kubelet that was killed finds everything and restarts nothing. What a pod was promised is ([`allocation`]): it may ask for
//! something else by then. The node server ([`server`]) serves logs and hands
//! exec, attach and port-forward streams on to the runtime, byte for byte.
//!
//! Rejected: upstream's layout of sync loop, status manager, prober manager and volume manager, each with its own
//! periodic reconciliation. One worker that owns all of a pod needs no agreement between them, and reacts at once.

mod alignment;
mod allocation;
mod backoff;
mod cgroup;
mod config;
mod configuration;
mod context;
mod devices;
mod disk;
mod dns;
mod downward;
mod dra;
mod env;
mod ephemeral;
mod error;
mod events;
mod eviction;
mod garbage;
mod hosts;
mod image;
mod kubelet;
mod labels;
pub mod local_path;
pub mod logs;
mod mirror;
mod node;
mod objects;
mod observed;
mod plugins;
mod pod_resources;
mod pods;
mod preemption;
mod probe;
mod resources;
mod root;
mod runtime;
mod security;
mod server;
mod shutdown;
mod socket;
mod sources;
mod stats;
mod status;
mod swap;
mod termination;
#[cfg(test)]
mod testing;
mod users;
mod volume;
mod watch;
mod worker;

pub use config::{ClientCertificate, Config, DEFAULT_PORT};
pub use configuration::{ConfigurationError, KubeletConfiguration};
pub use error::Error;
pub use kubelet::Kubelet;
pub use labels::OWNER_LABEL;
pub use root::OWNER_FILE as ROOT_OWNER_FILE;
pub use server::NodeLogs;
pub use sources::ManifestUrl;
