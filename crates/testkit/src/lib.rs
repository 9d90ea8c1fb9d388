//! Clusters in network namespaces, test images, waits with deadlines.
//!
//! A test makes a [`Cluster`]: a directory, a cgroup root and a pair of network namespaces of its own, with no route out,
//! in which the real `knarr` binary runs. So clusters run side by side with their default ports and addresses, and a
//! packet that escapes its cluster has nowhere to go. Programs (kubectl, curl) are run in the namespace; the
//! [kube client](Cluster::client) connects from there too. Dropping the cluster removes all of it, also after a panic;
//! what a killed test process left is removed by the next one.
//!
//! Parts of the network are tested between [machines](machine) that are no more than a namespace each.
//!
//! Rejected: clusters in containers or virtual machines (slow to start, and they would hide what is left behind on the
//! host), and one shared cluster (a test that kills it would not be alone).

pub mod image;
#[cfg(feature = "machines")]
pub mod machine;
pub mod registry;

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod command;
#[cfg(feature = "cluster")]
mod etcd;
#[cfg(feature = "cluster")]
mod ground;
#[cfg(feature = "cluster")]
mod host;
#[cfg(feature = "cluster")]
mod kubectl;
#[cfg(feature = "cluster")]
mod network;
#[cfg(feature = "cluster")]
mod wait;

#[cfg(feature = "client")]
pub use self::{
    client::{Identity, Raw, client_within},
    wait::eventually_async,
};
#[cfg(feature = "cluster")]
pub use self::{
    cluster::{Cluster, Options, images, kill_process, knarr_binary},
    command::{Output, run, run_with_input},
    etcd::{Etcd, EtcdOptions, EtcdProgram, etcds},
    ground::Ground,
    host::can_run_clusters,
    kubectl::{Kubectl, kubectls},
    network::{NODE_IP, Network},
    wait::{eventually, hold},
};
