//! Pod networking behind the Container Network Interface, both sides of it.
//!
//! - [`Invoker`] is the side of a container runtime: it reads a network configuration list and runs its plugins, ours or
//!   anyone's, for `ADD` and `DEL`.
//! - [`plugin`] is a plugin of our own, the default: routed veths. Every pod has an address of each of the cluster's families, a /32 or
//!   a /128, and a default route to a link-local gateway that exists only as a permanent neighbour entry; the node has a route to every
//!   address. There is no bridge, so each packet meets conntrack and policy without br_netfilter, and nobody is ever asked for a
//!   neighbour.
//! - [`policy`] is what the plugin tells whoever enforces network policies.
//! - [`node`] is what a node needs once: forwarding, masquerade, and the rule that a pod or service address never leaves by a
//!   real interface.
//! - [`peers`] keeps the way to the pods of other nodes: routes, and VXLAN to those that are on no link of ours.
//! - [`local`] is the network of nodes that share a machine, each with a network namespace of its own.
//!
//! Our plugin is a process to runtimes of other programs, and a function to the one that is in the same program. Rejected: a bridge
//! (needs br_netfilter for policy, and floods).

// Ranges, rates and what the kernel answers come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod bandwidth;
pub mod config;
mod hardware;
mod instance;
pub mod invoke;
pub mod local;
pub mod node;
pub mod peers;
pub mod plugin;
pub mod policy;
pub mod result;
mod rtnl;
mod trust;
mod types;

pub use bandwidth::{Bandwidth, Unreasonable};
pub use config::NetworkConfigList;
pub use instance::{InstanceId, InvalidId};
pub use invoke::{CapabilityArgs, Invoker};
pub use result::CniResult;
pub use rtnl::Error as NetlinkError;
pub use types::{PortMapping, ValidAttachment};

/// The protocol version we speak when a configuration names none that is newer.
pub const CNI_VERSION: &str = "1.0.0";

/// Versions whose results we can read and write: the result's shape is the same since 1.0.0.
pub const SUPPORTED_VERSIONS: &[&str] = &["1.0.0", "1.1.0"];
