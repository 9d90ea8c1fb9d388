//! Why a kubelet cannot run.

use std::{io, net::SocketAddr};

use crate::configuration::ConfigurationError;

/// The kubelet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be made, or the host's cgroups cannot be read.
    #[error("cannot prepare {what}: {source}")]
    Host {
        /// What was prepared.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The address of the node server is taken.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A sysctl that is to be allowed is not namespaced, or none.
    #[error("--allowed-unsafe-sysctls: {0}")]
    Sysctls(String),
    /// The host is not one that the configuration allows.
    #[error("{0}")]
    Configuration(#[from] ConfigurationError),
    /// There are no ids for pods whose users are not the node's.
    #[error("create user namespace manager: {0}")]
    Users(String),
    /// CPUs, memory or devices cannot be given as the configuration has it.
    #[error("{0}")]
    Managers(String),
    /// The authority of the node server's clients makes no sense.
    #[error("cannot set up TLS for the node server: {0}")]
    Tls(String),
}
