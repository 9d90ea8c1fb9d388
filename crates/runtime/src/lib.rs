//! The embedded container runtime: a CRI server over libcontainer, overlayfs and CNI.
//!
//! ```text
//! kubelet --CRI--> cri::{runtime, images}      requests to calls, errors to codes
//!                      |            |
//!              sandbox, container   images     lifecycle, each object's operations one at a time | content, layers
//!                  |        |         |
//!                 cni   spec, snapshot         bundle of a container: OCI configuration, overlay mount
//!                  |        |
//!                 shim (a process a sandbox)   namespaces, stdio, logs, exit statuses; outlives this process
//! ```
//!
//! A record of each sandbox and container is on disk before anything of it is made, and every name (directory, mount,
//! namespace, cgroup) follows from its id, so that whatever a crash leaves can be found and removed ([`recover`]).
//! Shims push the ends of containers as events; nothing polls.
//!
//! Rejected: a pause image (the shim holds the namespaces), a content store with leases and snapshot keys as
//! containerd's (one reader, one writer: a map under a lock and reference counts from the records do), a thread or
//! task a container (the shim does the waiting).

#![allow(unsafe_code)]

mod cdi;
mod cgroup;
mod config;
mod container;
mod cri;
mod declared;
mod events;
pub mod exec;
mod files;
mod id;
mod image_volume;
pub mod images;
mod mapped;
mod mount_points;
mod overlay;
mod owners;
mod records;
mod recover;
pub mod registries;
mod runtime;
mod sandbox;
mod shim;
mod snapshot;
mod spec;
mod stats;
pub mod streaming;
mod users;

pub use config::Config;
pub use registries::Registries;
pub use runtime::{Error, Runtime};

/// Kills what is left in the cgroups that shims and pods have below `root`, and removes them; `root` as well when nothing
/// else is in it. For when everything is taken down. Blocks.
pub fn remove_cgroups(root: &std::path::Path) -> std::io::Result<()> {
    let hierarchies = cgroup::host();
    // The last is the kubelet's, who makes it but does not outlive its pods.
    for name in ["shims", "pods", "kubepods"] {
        hierarchies.remove(&root.join(name))?;
    }
    hierarchies.remove_empty(root);
    Ok(())
}
