//! Simulated nodes: many hollow kubelets in one process, for trying out what a cluster makes of thousands of nodes, and for figures.
//!
//! To the API a hollow kubelet is a kubelet: it registers a Node, renews its Lease every ten seconds and tells its status every five
//! minutes and on change; pods that are bound to it start, run, end and go, with a kubelet's statuses at a kubelet's rate. Nothing
//! runs anywhere.
//!
//! ```text
//!   Node objects --> Informer<node::Seen> --+--> nodes: WorkQueue<Work>, workers --> create, renew, report
//!   pods, one watch  --> Informer<pod::Pod> --+--> pods: WorkQueue<Key>, workers --> plan (pure) --> status, delete
//! ```
//!
//! What a node and a pod cost is bounded: an entry in a table, a slim copy of the object (names, phase, images), and one entry in the
//! queue's heap of what is due. No task belongs to a node or a pod. There is one watch of all bound pods, not one a node as kubelets
//! have: 5 000 watches would measure the simulator's connections. It needs an identity that may read all pods, which kubelets' own may
//! not; so all hollow kubelets act under the kubeconfig's identity, and the Node authorizer is not part of what is simulated.
//!
//! Rejected: upstream's hollow-node (kubemark), a process a node with a real kubelet in it: some 30 MB for each. A server behind the nodes
//! for logs and exec, as kwok has: a pod here has nothing to say.

mod config;
mod counts;
mod hollow;
mod latency;
mod leases;
mod node;
mod nodes;
mod plan;
mod pod;
mod pods;
mod pool;
mod range;
pub mod report;
mod rest;
mod share;
mod sim;
mod status;
mod worker;

pub use config::Config;
pub use counts::Figures;
pub use latency::Latency;
pub use node::{NOT_READY_ANNOTATION, STOPPED_ANNOTATION};
pub use pod::{OUTCOME_ANNOTATION, RUN_FOR_ANNOTATION};
pub use range::Range;
pub use share::Share;
pub use sim::{Sim, TooFewAddresses, Watcher, purge};

#[cfg(test)]
mod fixtures;
